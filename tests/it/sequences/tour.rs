//! Sequences that were not drawn by lot: between them every kind of step runs, whatever the lot says.

use super::{
    reference::Known,
    steps::{
        Call, Death, Foreign, OnConflict, Promote, Release, Roads, Signal, Stage, Step, Trouble, Way, What, Who, Whose,
    },
};
use proptest_state_machine::ReferenceStateMachine;

fn promote(release: usize, way: Way) -> What {
    What::Promote(Promote {
        release: Release(release),
        way,
        on_conflict: OnConflict::Supersede,
        overwrite_drift: false,
        break_glass: false,
    })
}

fn canary() -> Way {
    Way::Canary {
        weights: vec![5, 50],
        gate: true,
        check: true,
        only_web: false,
    }
}

fn signal(signal: Signal) -> What {
    What::Signal(signal, Whose::Holder)
}

/// The sequences.
pub fn sequences() -> Vec<(Known, Vec<Step>)> {
    let everyone = || Way::AllAtOnce { bake_seconds: 0 };
    let gated = vec![
        What::Worker,
        promote(2, canary()),
        What::Run,
        signal(Signal::Pause),
        signal(Signal::Resume),
        signal(Signal::Approve(Who::Starter)),
        signal(Signal::Approve(Who::Other)),
        What::Timer,
        signal(Signal::PromoteFully),
        What::Run,
        What::Register,
        What::Purge,
        promote(3, canary()),
        What::Run,
        signal(Signal::Reject(Who::Other)),
        signal(Signal::Retry),
        What::Run,
        What::Hour,
        What::Answer { pass: false },
        promote(3, canary()),
        What::Run,
    ];
    let broken = vec![
        What::Lock,
        promote(2, everyone()),
        What::Unlock,
        What::Block(Release(2)),
        promote(2, everyone()),
        What::Unblock(Release(2)),
        promote(2, canary()),
        What::LockEverything,
        What::Timer,
        What::UnlockEverything,
        What::Fault {
            call: Call::Write,
            trouble: Trouble::LostAnswer,
            skip: 0,
            times: 2,
        },
        What::Run,
        signal(Signal::Abort),
        What::Drift(0, Foreign::Document),
        promote(2, everyone()),
        What::Die(Death::AfterEffect(Call::Any, 1)),
        promote(2, canary()),
        What::Run,
        What::Die(Death::LateWrite { skip: 0, timers: 2 }),
        What::Rollback { to: None, block: true },
        What::Run,
    ];
    let stage = |roads| Stage {
        roads,
        served: 2,
        gate: false,
        check: false,
        hooks: true,
    };
    [(stage(Roads::Keys), gated), (stage(Roads::Parameters), broken)]
        .into_iter()
        .map(|(stage, steps)| {
            let steps: Vec<Step> = steps.into_iter().map(|what| Step { at_once: false, what }).collect();
            let start = Known::at(stage);
            let mut known = start.clone();
            for step in &steps {
                assert!(Known::preconditions(&known, step), "{step:?}");
                known = Known::apply(known, step);
            }
            (start, steps)
        })
        .collect()
}
