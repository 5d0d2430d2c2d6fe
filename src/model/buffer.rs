//! Memory for weights. What comes from the system comes in pages of 4 KiB, one at a time, and that takes longer than filling
//! them. So large pages are asked for.

use std::sync::Arc;

/// Smaller buffers, in bytes, are not worth asking for.
#[cfg(target_os = "linux")]
const LARGE: usize = 256 << 10;

/// Lets this process take the memory of a model from large pages too, up to this many bytes. For programs that load one
/// model, use it and end: memory that is freed later stays with the process.
///
/// Does nothing where the C library is not GNU's.
#[cfg(feature = "cli")]
pub(crate) fn expect_model(bytes: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};

        /// The largest block that GNU's library takes from the heap rather than from the system.
        const BLOCK: usize = 32 << 20;
        let block = BLOCK as i32;
        // One heap for all threads, for large blocks too, which keeps its size.
        for (option, value) in [(M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, block), (M_TRIM_THRESHOLD, i32::MAX)] {
            // SAFETY: sets numbers that the library reads when it allocates; it takes its own lock for that.
            unsafe { mallopt(option, value) };
        }
        // Allocating these blocks makes the heap grow. They are marked for large pages and freed without being touched.
        let blocks: Vec<Vec<u8>> = (0..bytes / BLOCK).map(|_| Vec::with_capacity(BLOCK - 4096)).collect();
        for block in &blocks {
            advise(block.as_ptr(), block.capacity());
        }
    }
}

/// Zeros, to be filled and then shared.
pub(crate) fn zeroed(bytes: usize) -> Arc<[u8]> {
    // SAFETY: bytes may be zero.
    let buffer: Arc<[u8]> = unsafe { Arc::new_zeroed_slice(bytes).assume_init() };
    ask_for_large_pages(buffer.as_ptr(), bytes);
    buffer
}

/// Memory for so many values. Nothing is written to it yet.
pub(crate) fn reserved<T>(count: usize) -> Vec<T> {
    let buffer = Vec::with_capacity(count);
    ask_for_large_pages(buffer.as_ptr(), size_of::<T>() * count);
    buffer
}

/// Does nothing for small buffers, or where the system does not know such pages.
fn ask_for_large_pages<T>(start: *const T, bytes: usize) {
    #[cfg(target_os = "linux")]
    if bytes >= LARGE {
        advise(start.cast(), bytes);
    }
}

/// Asks for large pages from the beginning of the first page to the end of the last one: a large page can hold several
/// buffers that lie beside one another.
#[cfg(target_os = "linux")]
fn advise(start: *const u8, bytes: usize) {
    use nix::libc;

    const PAGE: usize = 4096;
    let skipped = start.addr() % PAGE;
    let pages = start.wrapping_sub(skipped).cast_mut().cast();
    // SAFETY: the pages that a buffer is in. The advice does not change what is in them, and may be refused.
    unsafe { libc::madvise(pages, (skipped + bytes).next_multiple_of(PAGE), libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_its_size_and_zeros() {
        for bytes in [0, 1, 4096, (5 << 20) + 3] {
            let mut buffer = zeroed(bytes);
            assert!(buffer.len() == bytes && buffer.iter().all(|b| *b == 0));
            Arc::get_mut(&mut buffer).unwrap().fill(7);
            assert!(buffer.iter().all(|b| *b == 7));
            expect_model(bytes);
            assert!(reserved::<f32>(bytes).capacity() >= bytes);
        }
    }
}
