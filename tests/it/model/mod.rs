//! A model of lease, epoch, pre-emption and pointer write, looked at in every state it can get into.
//!
//! A promotion flips a pointer; it can be aborted, and a rollback can take its place at any moment or come after it.
//! Workers claim, stall, lose their lease without knowing it, and die between any two of their transactions, looks
//! and calls. A write is signed and handed to a network that delivers it once: at once, late, or never, and its
//! answer is heard or not. SSM is a register that takes whatever comes. The question is always the same: when no job
//! is unfinished, so that nobody looks any more, does the pointer say what the database says, and will it stay so?
//!
//! To be read beside the code; each action says which function it stands for.
//!
//! | file | stands for |
//! |---|---|
//! | `state` | `jobs`, `pointers`, `pointer_writes`, and the statements of `store::pointers` |
//! | `worker` | `leases::claim`, `Store::fence`, `engine::drive`, the steps `flip` and `settle` |
//! | `world` | `rollbacks::start` with `takeover::supersede`, `signals::abort`, network, SSM, time; and what must be true |
//! | `small` | nothing: it makes states equal whose difference can't matter |
//! | `path` | nothing: it tells a path in words |
//! | `checks` | the tests |
//!
//! **Time** is what the late-write watch is about, so it is in the model, but only as ages. A tick makes every intent
//! and every signature older; it can come between any two things, also while a worker is in the middle of a step.
//! Nothing else goes by time: a lease may run out at any moment. One tick stands for the five minutes of a signature:
//! AWS takes a request in the tick of its signature and in the next one. `WriteGuard` lets an intent be signed in the
//! tick in which it was stored (`sign_by`), and `late_for` counts from there. So the last moment at which a write can
//! land is also the last one for which `settle` waits: the tightest that the code may rely on.
//!
//! **What is taken for granted**, and has to be true in the real world: a request has taken effect, or never will,
//! when its signature's time is over by the database's clock (so the clock that signs does not run ahead, or the watch
//! is longer by as much); a look sees the newest version; nobody else writes the pointer.
//!
//! **What is left out**: several components and regions; parameters that are created or deleted; jobs that get stuck
//! or are retried by a person; promotions that supersede or queue; the edge's TTL and the invalidation. The attempts
//! of a step are not counted: a step that fails for good is an abort at that moment.
//!
//! **How far it looks**: at histories of any length in which at most [`state::WRITES`] rows of `pointer_writes` say
//! different things or may still land.

mod checks;
mod path;
mod small;
mod state;
mod worker;
mod world;

/// What a worker has to prove before it writes to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fence {
    /// As it is built.
    OwnerAndEpoch,
    /// Without the epoch: the lease is this process's, whoever in it took it.
    OwnerAlone,
    /// Nothing.
    Open,
}

/// What is built, and with which parts left out.
#[derive(Clone, Copy, Debug)]
struct ControlPlane {
    /// The pointer's format: with `plain`, a way back writes the same value as was there before.
    plain: bool,
    /// A KeyValueStore instead of SSM: a write names the version that it replaces, and an answered one fences all
    /// before it.
    compare_and_swap: bool,
    /// Ticks after `sign_by` for which `settle` watches for a write that got no answer.
    late_write_watch: Option<u8>,
    /// `settle` asks whether something may still land, and then looks. The other way round is wrong.
    asks_before_it_looks: bool,
    fence: Fence,
    write_guard: bool,
    /// How many intents may be open or different at a time.
    writes: usize,
    /// Keep every worker that has lost its lease until it finds out by itself, see [`small`].
    keep_the_lost: bool,
}

impl ControlPlane {
    /// With SSM.
    const BUILT: Self = Self {
        plain: false,
        compare_and_swap: false,
        late_write_watch: Some(world::VALIDITY),
        asks_before_it_looks: true,
        fence: Fence::OwnerAndEpoch,
        write_guard: true,
        writes: state::WRITES,
        keep_the_lost: false,
    };
}
