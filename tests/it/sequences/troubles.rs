//! What goes wrong: somebody else writes, calls to AWS fail, workers die in the middle of one, writes land late.

use std::time::Duration;

use chrono::{DateTime, Utc};
use greenlight::sandbox::double::{Fault, FaultAction, FaultHandle};
use serde_json::json;

use super::{
    facts::Facts,
    invariants,
    steps::{Call, Death, Foreign, Trouble},
    system::World,
    tally::TALLY,
};
use crate::support::{API_PARAMETER, KEY, PARAMETER, REGION};

/// AWS takes a signed request for five minutes.
const SIGNED: Duration = Duration::from_secs(295);
const LEASE: Duration = Duration::from_secs(31);

/// A call in the middle of which every worker dies.
pub struct Doom {
    handles: Vec<FaultHandle>,
    /// Its write lands so many timers later.
    late: Option<u32>,
}

/// A write whose worker has died: AWS still has it.
pub struct Late {
    handle: FaultHandle,
    signed: DateTime<Utc>,
    pub timers: u32,
}

impl Doom {
    pub fn is_met(&self) -> bool {
        self.handles.iter().any(|handle| handle.hits() > 0)
    }
}

/// The operations of a call.
fn fault(call: Call, action: &FaultAction, skip: u64, times: u64) -> Vec<Fault> {
    let operations: &[Option<&str>] = match call {
        Call::Any => &[None],
        Call::Read => &[Some("GetParameter"), Some("GetKey")],
        Call::Write => &[Some("PutParameter"), Some("UpdateKeys")],
        Call::Invalidate => &[Some("CreateInvalidation")],
    };
    let of = |operation: &Option<&str>| match operation {
        Some(operation) => Fault::on(operation, action.clone()),
        None => Fault::on_any(action.clone()),
    };
    operations
        .iter()
        .map(of)
        .map(|fault| fault.skip(skip).times(times))
        .collect()
}

impl World {
    pub async fn drift(&mut self, at: usize, foreign: Foreign) {
        let pointers = Facts::read(&self.app).await.pointers;
        let pointer = &pointers[at % pointers.len()];
        let document = || {
            let epoch = Self::says(&self.all_pointers(), pointer).map_or(0, invariants::epoch);
            json!({"v": 1, "active": "9.9.9", "previous": null, "candidate": null, "weight": 0, "epoch": epoch + 1,
                   "pin_seconds": 1800})
            .to_string()
        };
        let value = match foreign {
            Foreign::Text => Some("somebody else's".to_owned()),
            Foreign::Document => Some(document()),
            Foreign::Nothing => None,
        };
        if foreign == Foreign::Document {
            self.book.names.insert("9.9.9".to_owned());
        }
        let double = &self.app.double;
        let name = match pointer["component"].as_str().unwrap() {
            "api" => API_PARAMETER,
            _ => PARAMETER,
        };
        match (value, pointer["target"] == "kvs") {
            (Some(value), false) => {
                double.put_parameter(REGION, name, &value).unwrap();
            }
            (None, false) => {
                double.delete_parameter(REGION, name);
            }
            (Some(value), true) => double.set_kvs_value(&self.app.store_arn(), KEY, &value).unwrap(),
            (None, true) => {
                let _ = double.delete_kvs_value(&self.app.store_arn(), KEY);
            }
        }
        let facts = Facts::read(&self.app).await;
        let begun = facts.begun();
        self.book
            .foreign
            .insert(pointer["key"].as_str().unwrap().to_owned(), begun);
    }

    pub fn fault(&mut self, call: Call, trouble: Trouble, skip: u64, times: u64) {
        let (action, times) = match trouble {
            Trouble::LostAnswer => (FaultAction::LoseAnswer, times),
            Trouble::LostRequest => (FaultAction::LoseRequest, times),
            Trouble::Unavailable => (FaultAction::Unavailable, times),
            Trouble::InternalError => (FaultAction::InternalError, times),
            Trouble::Throttled => (FaultAction::Throttle, times),
            Trouble::AccessDenied => (FaultAction::AccessDenied, 1),
        };
        for fault in fault(call, &action, skip, times) {
            self.faults.push(self.app.double.faults().add(fault));
        }
    }

    /// From now on every worker dies as soon as one of them comes to that call; or right now.
    pub async fn die(&mut self, death: Death) {
        let (action, call, skip, late) = match death {
            Death::Idle => {
                return self
                    .workers_die(Doom {
                        handles: Vec::new(),
                        late: None,
                    })
                    .await;
            }
            Death::AfterEffect(call, skip) => (FaultAction::HangAfterEffect, call, skip, None),
            Death::BeforeEffect(call, skip) => (FaultAction::HangBeforeEffect, call, skip, None),
            Death::LateWrite { skip, timers } => (FaultAction::HoldEffect, Call::Write, skip, Some(timers + 1)),
        };
        let add = |fault| self.app.double.faults().add(fault);
        let handles = fault(call, &action, skip, 1).into_iter().map(add).collect();
        self.dooms.push(Doom { handles, late });
    }

    /// The workers end as with `kill -9`, their leases run out, and another one starts.
    pub async fn workers_die(&mut self, doom: Doom) {
        let signed = self.app.double.clock().now();
        for worker in std::mem::take(&mut self.workers) {
            self.app.kill_worker(worker).await;
        }
        for handle in doom.handles {
            self.app.double.faults().remove(handle.id());
            if handle.hits() > 0 {
                TALLY.lock().unwrap().deaths_in_a_call += 1;
                if let Some(timers) = doom.late {
                    self.late.push(Late { handle, signed, timers });
                }
            }
        }
        // On the database's clock: nobody waits for it.
        self.app.advance(LEASE).await;
        let again = self.app.start_worker();
        self.workers.insert(again);
    }

    /// These late writes land, as far as AWS still takes them.
    pub fn land(&mut self, which: impl Fn(&Late) -> bool) {
        let now = self.app.double.clock().now();
        for late in self.late.extract_if(.., |late| which(late)) {
            let taken = (now - late.signed).to_std().unwrap_or_default() < SIGNED;
            if taken && late.handle.release() > 0 {
                TALLY.lock().unwrap().late_writes_landed += 1;
            }
        }
    }

    /// AWS works again, nobody dies or writes any more, and what could still land has landed.
    pub async fn end_faults(&mut self) {
        self.still().await;
        self.land(|_| true);
        self.dooms.clear();
        let met = self.faults.drain(..).filter(|handle| handle.hits() > 0).count();
        TALLY.lock().unwrap().faults_met += u64::try_from(met).unwrap();
        self.app.double.faults().clear();
        self.site.answer("/check", 200, "");
    }
}
