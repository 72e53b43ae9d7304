//! One replica as a sans-IO state machine: input and time in, a batch to commit and sealed effects out.
