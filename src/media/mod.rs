//! Media in: containers, decoding, pictures, and the object stores that hold them.

pub mod decode;
pub mod frame;
pub mod object_store;
pub mod picture;
pub mod probe;
pub mod resize;
pub mod thumbnail;
