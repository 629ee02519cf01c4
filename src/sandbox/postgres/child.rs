//! Starting a program so that it can't outlive us, and watching over it.
//!
//! `PR_SET_PDEATHSIG` has the kernel signal a child when its parent dies, however it dies. Three
//! things about it are easy to get wrong, and are seen to here:
//!
//! - a change of user clears it, so it is set *after* that change: the standard library runs
//!   `pre_exec` closures when user and group are already set;
//! - "the parent" is the *thread* that forked, so everything here is called from one thread that
//!   lives as long as the child (`super::supervisor`);
//! - a parent that died before the call never sends the signal, so the child checks afterwards who
//!   its parent is.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio, id},
};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::user::RunAs;

/// A command run as `run_as` in the folder `cwd`, in a process group of its own (a terminal's Ctrl-C
/// is ours to handle), without our environment, and sent `at_our_end` when our thread or process ends.
pub(super) fn command(program: &Path, run_as: &RunAs, cwd: &Path, at_our_end: Signal) -> Command {
    let mut command = Command::new(program);
    command.current_dir(cwd).stdin(Stdio::null()).process_group(0);
    // Settings of ours like PGPORT, PGOPTIONS or LC_MESSAGES must not reach the server.
    command.env_clear().env("LC_ALL", "C");
    for kept in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    if let RunAs::Other { uid, gid, .. } = run_as {
        command.gid(*gid).uid(*uid);
    }
    let parent = id();
    // SAFETY: between fork and exec the closure makes two system calls (prctl and getppid) and
    // builds an error from a number: it neither allocates nor takes a lock, and it touches nothing
    // but the integer it was given.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(at_our_end))?;
            let still_there = getppid().is_some_and(|now| now.as_raw_pid().cast_unsigned() == parent);
            if still_there {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(NO_SUCH_PROCESS))
            }
        });
    }
    command
}

/// ESRCH: our parent died before the kernel was told to watch it.
const NO_SUCH_PROCESS: i32 = rustix::io::Errno::SRCH.raw_os_error();
