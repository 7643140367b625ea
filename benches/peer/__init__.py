"""The pipeline that a user would write instead of sentistream, to measure it against: `plain` as most would write it, `tuned` by an
expert. Both give the worker's answers on any bundle of docs/bundle.md, and are started with the worker's environment variables."""
