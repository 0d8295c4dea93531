//! Sessions: who sits where, and revocations.

use utoipa_axum::router::OpenApiRouter;

use crate::{AdminParts, Operation};

/// The rows of the table.
pub(crate) const OPERATIONS: &[Operation] = &[];

/// Every statement.
pub(crate) const STATEMENTS: &[&str] = &[];

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new()
}
