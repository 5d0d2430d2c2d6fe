//! Models: folders, the runtime that runs them, the image and text towers, and captioning.

pub mod caption;
pub mod folder;
pub mod image;
pub mod loader;
pub mod preprocess;
pub mod runtime;
pub mod text;
