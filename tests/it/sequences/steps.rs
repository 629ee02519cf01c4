//! The words of a sequence: everything that can happen, and where it begins.

use std::fmt;

/// The versions there are to promote. The last one is registered on the way.
pub const RELEASES: [&str; 4] = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"];

/// What carries the traffic of `api` and `web`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roads {
    /// A parameter each.
    Parameters,
    /// `web` in a KeyValueStore.
    Keys,
    /// `web` in a parameter that is projected to a KeyValueStore.
    Projected,
}

/// Where a sequence begins.
#[derive(Debug, Clone)]
pub struct Stage {
    pub roads: Roads,
    /// So many releases have served already.
    pub served: usize,
    /// Somebody has to approve before traffic.
    pub gate: bool,
    /// A check is asked before traffic and after it.
    pub check: bool,
    /// A hook is called before traffic and another one amid it; both can be taken back.
    pub hooks: bool,
}

/// A place in [`RELEASES`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Release(pub usize);

impl Release {
    pub fn version(self) -> &'static str {
        RELEASES[self.0]
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version())
    }
}

/// How a promotion moves traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    AllAtOnce {
        bake_seconds: u32,
    },
    Canary {
        weights: Vec<u32>,
        gate: bool,
        check: bool,
        only_web: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    Reject,
    Queue,
    Supersede,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promote {
    pub release: Release,
    pub way: Way,
    pub on_conflict: OnConflict,
    pub overwrite_drift: bool,
    pub break_glass: bool,
}

/// Who decides at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Other,
    /// The one who starts everything here.
    Starter,
    /// Somebody whose role is too small.
    Small,
}

/// What is said to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Approve(Who),
    Reject(Who),
    Pause,
    Resume,
    PromoteFully,
    Abort,
    Retry,
}

/// Which job is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The one that holds the environment, else the newest.
    Holder,
    /// The newest, which may be queued.
    Newest,
}

/// What somebody else writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    Text,
    /// A document like ours, as break-glass writes it.
    Document,
    Nothing,
}

/// Calls to AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Any,
    Read,
    Write,
    Invalidate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    LostAnswer,
    LostRequest,
    Unavailable,
    InternalError,
    Throttled,
    AccessDenied,
}

/// In the middle of what every worker dies, as soon as one of them comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Idle,
    /// After the effect of this call, before its answer.
    AfterEffect(Call, u64),
    BeforeEffect(Call, u64),
    /// In a write that lands so many timers later, if AWS still takes it by then.
    LateWrite {
        skip: u64,
        timers: u32,
    },
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Promote(Promote),
    Rollback {
        to: Option<Release>,
        block: bool,
    },
    Signal(Signal, Whose),
    Lock,
    Unlock,
    LockEverything,
    UnlockEverything,
    Block(Release),
    Unblock(Release),
    Register,
    Purge,
    /// Somebody else writes a pointer: the one at this place.
    Drift(usize, Foreign),
    Die(Death),
    /// One worker more.
    Worker,
    Fault {
        call: Call,
        trouble: Trouble,
        skip: u64,
        times: u64,
    },
    /// From now on the check is answered so.
    Answer {
        pass: bool,
    },
    /// Time goes on to the next timer.
    Timer,
    /// Time goes on until a person has to say something, or nothing is left to do.
    Run,
    /// An hour passes: every gate expires.
    Hour,
}

/// Something that happens, and when.
#[derive(Clone, PartialEq, Eq)]
pub struct Step {
    /// Whatever the workers are doing; else when they have done all they can.
    pub at_once: bool,
    pub what: What,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.at_once { "at once: " } else { "" };
        write!(f, "{when}{:?}", self.what)
    }
}

impl What {
    /// Its kind, as it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Promote(Promote {
                way: Way::AllAtOnce { .. },
                ..
            }) => "promote",
            Self::Promote(Promote {
                way: Way::Canary { .. },
                ..
            }) => "canary",
            Self::Rollback { .. } => "rollback",
            Self::Signal(Signal::Approve(_), _) => "approve",
            Self::Signal(Signal::Reject(_), _) => "reject",
            Self::Signal(Signal::Pause, _) => "pause",
            Self::Signal(Signal::Resume, _) => "resume",
            Self::Signal(Signal::PromoteFully, _) => "promote_fully",
            Self::Signal(Signal::Abort, _) => "abort",
            Self::Signal(Signal::Retry, _) => "retry",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::LockEverything => "lock everything",
            Self::UnlockEverything => "unlock everything",
            Self::Block(_) => "block",
            Self::Unblock(_) => "unblock",
            Self::Register => "register",
            Self::Purge => "purge",
            Self::Drift(..) => "drift",
            Self::Die(Death::LateWrite { .. }) => "late write",
            Self::Die(_) => "worker death",
            Self::Worker => "second worker",
            Self::Fault { .. } => "fault",
            Self::Answer { .. } => "check answer",
            Self::Timer => "timer",
            Self::Run => "run",
            Self::Hour => "hour",
        }
    }
}

/// Every kind there is.
pub const KINDS: [&str; 27] = [
    "promote",
    "canary",
    "rollback",
    "approve",
    "reject",
    "pause",
    "resume",
    "promote_fully",
    "abort",
    "retry",
    "lock",
    "unlock",
    "lock everything",
    "unlock everything",
    "block",
    "unblock",
    "register",
    "purge",
    "drift",
    "late write",
    "worker death",
    "second worker",
    "fault",
    "check answer",
    "timer",
    "run",
    "hour",
];
