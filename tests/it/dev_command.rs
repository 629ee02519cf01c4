//! `greenlight dev` as a person starts it: what it says, what it keeps, and that nothing of it stays
//! behind, however it ends.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::folder::Folder;

const PATIENCE: Duration = Duration::from_secs(60);

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenlight"));
    command.arg("dev").arg("--data-dir").arg(folder);
    for variable in [
        "GREENLIGHT_LISTEN",
        "GREENLIGHT_DEV_AWS_LISTEN",
        "GREENLIGHT_DEV_DATA_DIR",
    ] {
        command.env_remove(variable);
    }
    command
}

/// A running `greenlight dev` and what it has said.
struct Dev {
    child: Child,
    out: BufReader<ChildStdout>,
    said: Vec<String>,
}

impl Dev {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut dev = Self {
            child,
            out,
            said: Vec::new(),
        };
        while !dev.said.last().is_some_and(|line| line.contains("get-parameter")) {
            let mut line = String::new();
            assert_ne!(dev.out.read_line(&mut line).unwrap(), 0, "it ended: {:?}", dev.said);
            dev.said.push(line);
        }
        dev
    }

    /// The word after a heading like `Token`.
    fn said(&self, heading: &str) -> &str {
        let word = self
            .said
            .iter()
            .find_map(|line| line.trim().strip_prefix(heading)?.split_whitespace().next());
        word.unwrap_or_else(|| panic!("no {heading} in {:?}", self.said))
    }

    /// Everything that runs because of it.
    fn processes(&self) -> Vec<u32> {
        let mut processes = vec![self.child.id()];
        let mut next = 0;
        while next < processes.len() {
            processes.extend(children(processes[next]));
            next += 1;
        }
        processes
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    fn ended(mut self) -> ExitStatus {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Dev {
    /// A test that fails leaves nothing behind either.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The children of all threads of a process; none of one that has ended.
fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = threads.flat_map(|thread| fs::read_to_string(thread.path().join("children")));
    let numbers = |list: String| {
        list.split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect::<Vec<u32>>()
    };
    lists.flat_map(numbers).collect()
}

fn is_running(pid: u32) -> bool {
    // A zombie has ended; who reaps it is not our business.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

fn wait_until_gone(pids: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| is_running(*pid)) {
        assert!(Instant::now() < deadline, "still running: {pids:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ctrl_c_and_sigterm_stop_everything_in_order() {
    let folder = Folder::new();
    let mut tokens = Vec::new();
    for signal in ["-INT", "-TERM"] {
        let dev = Dev::start(&folder.0, &["--listen", "127.0.0.1:0"]);
        tokens.push(dev.said("Token").to_owned());
        let processes = dev.processes();
        assert!(processes.len() > 3, "PostgreSQL and its processes: {processes:?}");
        dev.signal(signal);
        let status = dev.ended();
        assert!(status.success(), "{signal}: {status}");
        assert!(processes.iter().all(|pid| !is_running(*pid)), "{signal}: {processes:?}");
        let log = fs::read_to_string(folder.0.join("postgres/postgres.log")).unwrap();
        assert!(log.contains("database system is shut down"), "{log}");
    }
    assert_eq!(tokens[0], tokens[1], "the token stays valid between runs");
    let file = folder.0.join("admin-token");
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), tokens[0]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn kill_9_leaves_nothing_running_and_the_next_run_starts() {
    let folder = Folder::new();
    let dev = Dev::start(&folder.0, &["--listen", "127.0.0.1:0"]);
    let processes = dev.processes();
    dev.signal("-KILL");
    assert!(!dev.ended().success());
    wait_until_gone(&processes);
    let dev = Dev::start(&folder.0, &["--listen", "127.0.0.1:0", "--fresh"]);
    dev.signal("-INT");
    assert!(dev.ended().success());
}

#[test]
fn a_second_one_on_the_folder_is_refused_and_cannot_wipe_it() {
    let folder = Folder::new();
    let dev = Dev::start(&folder.0, &["--listen", "127.0.0.1:0"]);
    let second = command(&folder.0)
        .args(["--fresh", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8(second.stderr).unwrap();
    assert!(words.contains("another `greenlight dev`"), "{words}");
    assert!(words.contains(&format!("process {}", dev.child.id())), "{words}");
    assert!(folder.0.join("admin-token").exists());
    dev.signal("-INT");
    assert!(dev.ended().success());
}

#[test]
fn another_port_is_taken_when_the_default_one_is() {
    let folder = Folder::new();
    // Ours, or somebody else's: taken it is.
    let _taken = TcpListener::bind("127.0.0.1:8080");
    let dev = Dev::start(&folder.0, &[]);
    assert!(
        dev.said.iter().any(|line| line.contains("Port 8080 is taken")),
        "{:?}",
        dev.said
    );
    assert!(!dev.said("API").ends_with(":8080"));
    dev.signal("-INT");
    assert!(dev.ended().success());
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_is_an_error() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = command(&folder.0).args(["--listen", &address]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains(&format!("could not listen on {address}")), "{words}");
}

#[test]
fn a_server_that_dies_ends_everything_with_an_explanation() {
    let folder = Folder::new();
    let mut dev = Dev::start(&folder.0, &["--listen", "127.0.0.1:0"]);
    let processes = dev.processes();
    let server = children(dev.child.id())[0];
    assert!(
        Command::new("kill")
            .args(["-9", &server.to_string()])
            .status()
            .unwrap()
            .success()
    );
    let status = dev.child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    wait_until_gone(&processes);
}
