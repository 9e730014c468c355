//! The OpenAPI document: the operations are listed here, the schemas are those of the API's types.

mod client_operations;
mod document;
mod operation;
mod operations;

pub(crate) use document::openapi;
