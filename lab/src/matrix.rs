//! The matrix: every technique, and every profile of some, against a plain client and against Busel by each way, measured, and
//! compared with what is expected by design. A row that does otherwise, for better or worse, is a
//! surprise, and surprises end a run in red.
//!
//! To add a technique add a line to [`techniques`].

mod case;
mod learnt;
mod profiles;
mod report;
mod row;
mod run;
mod techniques;

pub use case::{Case, Expected};
pub use report::{json, markdown};
pub use row::Row;
pub use run::{Extent, run};
pub use techniques::techniques;
