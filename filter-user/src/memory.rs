//! How freed memory is given back to the machine. Must not decide when.

/// Gives back what the C library's allocator holds free: a publish needs many times what the daemon keeps. Allocators other
/// than glibc's do so by themselves.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "std and nix have no malloc_trim")]
        // SAFETY: it takes no pointer, may be called by any thread at any time, and frees nothing that is in use.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
