//! `sentistream evaluate`: how good a bundle is on posts that somebody has labelled. The posts go through the pipeline as any
//! others; here their outcomes become numbers ([`Report`]) and a page to read ([`page()`]).
//!
//! ```text
//! list ── labelled ──► pipeline ──► outcomes ──► cases ──┬─ measures, calibration, intervals ──┐
//!          │                           │                 ├─ conditions (heads rerun) ─ noise ──┼──► report ──► report.json
//!          └ who takes no part         └ worst mistakes  └─ findings on the data ──────────────┘      └─────► report.html
//! ```
//!
//! A case keeps what the encoders made of a post, some 10 KB; of pictures only the thumbnails of the worst mistakes stay.

mod calculate;
mod calibration;
mod cases;
mod charts;
mod conditions;
mod findings;
mod intervals;
mod labelled;
mod measures;
mod mistakes;
mod noise;
mod page;
mod report;

pub use self::calculate::{Reruns, Sources};
pub use self::cases::{Case, Cases};
pub use self::conditions::{Condition, conditions, partners, rerun};
pub use self::labelled::{Labelled, labelled};
pub use self::page::page;
pub use self::report::Report;
