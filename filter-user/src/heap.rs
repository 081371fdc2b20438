//! Gives memory that was freed back to the system: a publish needs many times what the daemon keeps. Decides not when.

/// Gives back what the C library's allocator holds free. Others than glibc's do so by themselves.
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
