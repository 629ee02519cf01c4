//! What can be done, and what is known of the system by contract alone: locks, blocks, registered releases.
//!
//! It is made up before anything runs, so it can't know how far a job has got: what an answer depends on of that is
//! looked up right before the request (`expectation`).

use proptest::{prelude::*, sample::select, strategy::Union};
use proptest_state_machine::ReferenceStateMachine;

use super::steps::{
    Call, Death, Foreign, OnConflict, Promote, RELEASES, Release, Roads, Signal, Stage, Step, Trouble, Way, What, Who,
    Whose,
};

/// What is known.
#[derive(Debug, Clone)]
pub struct Known {
    pub stage: Stage,
    /// The first so many of [`RELEASES`] exist.
    pub registered: usize,
    pub locked: bool,
    pub everything_locked: bool,
    /// `None`: a rollback may have blocked it, it depends on what it left.
    pub blocked: [Option<bool>; RELEASES.len()],
    /// Something was started.
    pub started: bool,
    /// Something lies in wait: a fault, a death, a drift.
    pub trouble: bool,
}

fn promote() -> impl Strategy<Value = What> {
    let way = prop_oneof![
        2 => select(vec![0u32, 60]).prop_map(|bake_seconds| Way::AllAtOnce { bake_seconds }),
        3 => (select(vec![vec![5], vec![5, 50], vec![50]]), any::<bool>(), any::<bool>(), proptest::bool::weighted(0.2))
            .prop_map(|(weights, gate, check, only_web)| Way::Canary { weights, gate, check, only_web }),
    ];
    let on_conflict = prop_oneof![
        2 => Just(OnConflict::Reject),
        1 => Just(OnConflict::Queue),
        2 => Just(OnConflict::Supersede),
    ];
    let flag = proptest::bool::weighted;
    (release(), way, on_conflict, flag(0.3), flag(0.15)).prop_map(
        |(release, way, on_conflict, overwrite_drift, break_glass)| {
            What::Promote(Promote {
                release,
                way,
                on_conflict,
                overwrite_drift,
                break_glass,
            })
        },
    )
}

fn release() -> impl Strategy<Value = Release> {
    select(vec![2, 1, 0, 2, 1, 2, 3]).prop_map(Release)
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![5 => Just(Who::Other), 1 => Just(Who::Starter), 1 => Just(Who::Small)]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![1 => Just(Call::Any), 1 => Just(Call::Read), 3 => Just(Call::Write), 1 => Just(Call::Invalidate)]
}

fn signal() -> impl Strategy<Value = What> {
    let signal = prop_oneof![
        4 => who().prop_map(Signal::Approve),
        1 => who().prop_map(Signal::Reject),
        2 => Just(Signal::Pause),
        2 => Just(Signal::Resume),
        2 => Just(Signal::PromoteFully),
        4 => Just(Signal::Abort),
        4 => Just(Signal::Retry),
    ];
    let whose = prop_oneof![4 => Just(Whose::Holder), 1 => Just(Whose::Newest)];
    (signal, whose).prop_map(|(signal, whose)| What::Signal(signal, whose))
}

fn die() -> impl Strategy<Value = What> {
    prop_oneof![
        1 => Just(Death::Idle),
        3 => (call(), 0..3u64).prop_map(|(call, skip)| Death::AfterEffect(call, skip)),
        2 => (call(), 0..3u64).prop_map(|(call, skip)| Death::BeforeEffect(call, skip)),
        3 => (0..3u64, 0..8u32).prop_map(|(skip, timers)| Death::LateWrite { skip, timers }),
    ]
    .prop_map(What::Die)
}

fn fault() -> impl Strategy<Value = What> {
    let trouble = select(vec![
        Trouble::LostAnswer,
        Trouble::LostRequest,
        Trouble::Unavailable,
        Trouble::InternalError,
        Trouble::Throttled,
        Trouble::AccessDenied,
        Trouble::AccessDenied,
    ]);
    (call(), trouble, 0..3u64, 1..4u64).prop_map(|(call, trouble, skip, times)| What::Fault {
        call,
        trouble,
        skip,
        times,
    })
}

fn drift() -> impl Strategy<Value = What> {
    let foreign = prop_oneof![2 => Just(Foreign::Text), 3 => Just(Foreign::Document), 1 => Just(Foreign::Nothing)];
    (0..3usize, foreign).prop_map(|(at, foreign)| What::Drift(at, foreign))
}

impl ReferenceStateMachine for Known {
    type State = Known;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Known> {
        let roads = select(vec![
            Roads::Parameters,
            Roads::Parameters,
            Roads::Keys,
            Roads::Projected,
        ]);
        let flag = proptest::bool::weighted;
        let served = select(vec![2usize, 1, 2, 0]);
        (roads, served, flag(0.2), flag(0.3), flag(0.3))
            .prop_map(|(roads, served, gate, check, hooks)| {
                Known::at(Stage {
                    roads,
                    served,
                    gate,
                    check,
                    hooks,
                })
            })
            .boxed()
    }

    fn transitions(known: &Known) -> BoxedStrategy<Step> {
        // What lies in wait is met by a job that begins after it, and a lock that stays hides everything behind it.
        let (begin, lift) = (if known.trouble { 2 } else { 1 }, 4);
        let lock = if known.locked {
            (lift, What::Unlock)
        } else {
            (1, What::Lock)
        };
        let lock_everything = if known.everything_locked {
            (lift, What::UnlockEverything)
        } else {
            (1, What::LockEverything)
        };
        let mut choices: Vec<(u32, BoxedStrategy<What>)> = vec![
            (10 * begin, promote().boxed()),
            (
                4 * begin,
                (proptest::option::weighted(0.4, release()), any::<bool>())
                    .prop_map(|(to, block)| What::Rollback { to, block })
                    .boxed(),
            ),
            (lock.0, Just(lock.1).boxed()),
            (lock_everything.0, Just(lock_everything.1).boxed()),
            (1, release().prop_map(What::Block).boxed()),
            (1, release().prop_map(What::Unblock).boxed()),
            (1, Just(What::Purge).boxed()),
            (3, drift().boxed()),
            (4, die().boxed()),
            (1, Just(What::Worker).boxed()),
            (4, fault().boxed()),
            (2, any::<bool>().prop_map(|pass| What::Answer { pass }).boxed()),
            (5, Just(What::Timer).boxed()),
            (4, Just(What::Run).boxed()),
            (1, Just(What::Hour).boxed()),
        ];
        if known.started {
            choices.push((10, signal().boxed()));
        }
        if known.registered < RELEASES.len() {
            choices.push((1, Just(What::Register).boxed()));
        }
        (proptest::bool::weighted(0.3), Union::new_weighted(choices))
            .prop_map(|(at_once, what)| Step { at_once, what })
            .boxed()
    }

    fn preconditions(known: &Known, step: &Step) -> bool {
        match &step.what {
            What::Signal(..) => known.started,
            What::Register => known.registered < RELEASES.len(),
            _ => true,
        }
    }

    fn apply(mut known: Known, step: &Step) -> Known {
        known.learn(&step.what);
        known
    }
}

impl Known {
    pub fn at(stage: Stage) -> Self {
        Self {
            stage,
            registered: RELEASES.len() - 1,
            locked: false,
            everything_locked: false,
            blocked: [Some(false); RELEASES.len()],
            started: false,
            trouble: false,
        }
    }

    pub fn exists(&self, release: Release) -> bool {
        release.0 < self.registered
    }

    fn learn(&mut self, what: &What) {
        match *what {
            What::Lock => self.locked = true,
            What::Unlock => self.locked = false,
            What::LockEverything => self.everything_locked = true,
            What::UnlockEverything => self.everything_locked = false,
            What::Block(release) if self.exists(release) => self.blocked[release.0] = Some(true),
            What::Unblock(release) if self.exists(release) => self.blocked[release.0] = Some(false),
            What::Register => self.registered = RELEASES.len(),
            What::Promote(_) => (self.started, self.trouble) = (true, false),
            What::Drift(..) | What::Die(_) | What::Fault { .. } => self.trouble = true,
            What::Rollback { block, .. } => {
                (self.started, self.trouble) = (true, false);
                for blocked in &mut self.blocked {
                    if block && *blocked == Some(false) {
                        *blocked = None;
                    }
                }
            }
            _ => {}
        }
    }
}
