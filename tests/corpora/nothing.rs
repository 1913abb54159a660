//! Empty: Cargo asks each package for a target.
