// The colour scheme, before anything is drawn: what was chosen here before, else what the system prefers (app.css).
"use strict";
try {
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch {
  // No storage: the system's preference it is.
}
