//! `greenlight break-glass`: moves an environment to a release while Greenlight's database is away.
//!
//! ```text
//! document ─▶ look at every pointer ─▶ show ─▶ ask ─▶ component by component:
//!     write side by side ─▶ read back ─▶ the edge's TTL ─▶ invalidation ─▶ what became of it all
//! ```
//! It needs the environment's document and AWS, nothing else: no database, no service.
//!
//! **Invariant:** nothing is written that was not shown. A pointer that could not be read, or says something else
//! than the table said, is told and left; the others go on. What is written here is drift in the service's eyes.
//!
//! `document` reads the file, `plan` says what each pointer shall say, `screen` shows it and asks, `write` and
//! `invalidate` talk to AWS. The service's own way to do this is `steps/flip`, with PostgreSQL to remember.

mod document;
mod invalidate;
mod plan;
mod screen;
mod write;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use futures::future::join_all;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    document::Problem,
    invalidate::Cleared,
    plan::{Action, ComponentPlan, Plan, PointerPlan},
    screen::Screen,
    write::Outcome,
};
use crate::{
    aws::{Aws, error::AwsError},
    domain::{
        environment::EnvironmentDocument,
        names::{Name, Version},
    },
};

/// `greenlight break-glass`.
#[derive(Debug, Clone, Args)]
pub struct BreakGlassOptions {
    /// The environment's document: the JSON of its PUT, or what GET answered; - reads standard input.
    #[arg(long, value_name = "FILE")]
    environment_file: PathBuf,

    /// The release that everybody shall get.
    #[arg(long, value_name = "VERSION")]
    release: String,

    /// Only this component; may be given several times.
    #[arg(long = "component", value_name = "NAME")]
    components: Vec<String>,

    /// Make pointers that do not exist.
    #[arg(long)]
    create: bool,

    /// Show what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,

    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// How it ended; the process ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything is written. 0.
    Done,
    /// Something is not. 1.
    Incomplete,
    /// Nothing was written. 2.
    NotBegun,
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        Self::from(match ended {
            Ended::Done => 0,
            Ended::Incomplete => 1,
            Ended::NotBegun => 2,
        })
    }
}

/// What did not go well, in words, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    message: String,
    hint: Option<String>,
}

impl From<&AwsError> for Failure {
    fn from(error: &AwsError) -> Self {
        let said = error.job_error();
        Self {
            message: said.message,
            hint: said.hint,
        }
    }
}

/// What was asked for, once it is known to make sense.
struct Request {
    document: EnvironmentDocument,
    release: Version,
    /// In the document's order.
    components: Vec<Name>,
}

/// Runs the command, on the process's terminal.
pub async fn run(options: BreakGlassOptions) -> Ended {
    let screen = Screen::stdout();
    let request = match request(&options) {
        Ok(request) => request,
        Err(problems) => {
            for problem in problems {
                eprintln!("greenlight: {problem}");
            }
            return not_begun("nothing was written");
        }
    };
    let from_stdin = options.environment_file == Path::new("-");
    if !options.dry_run && !options.yes && (from_stdin || !io::stdin().is_terminal()) {
        return not_begun(
            "it asks before it writes, and standard input is no terminal to answer on: look with --dry-run, then say \
             --yes; nothing was written",
        );
    }
    let aws = Aws::from_environment().await;
    screen.say("Looking at every pointer …");
    let plan = plan::look(&aws, &request, options.create).await;
    screen.show(&plan, &request.release);
    if !plan.has_something_to_do() {
        return not_begun("there is nothing that can be written; nothing was");
    }
    if options.dry_run {
        screen.say("\nThis was a dry run: nothing was written.");
        return ended(plan.failures().is_empty());
    }
    if !options.yes {
        match screen::ask(&mut io::stdin().lock(), &mut io::stderr(), &request.release) {
            Ok(true) => {}
            Ok(false) => return not_begun("that is not the release; nothing was written"),
            Err(error) => return not_begun(&format!("no answer could be read ({error}); nothing was written")),
        }
    }
    // A terminal that is closed must not leave half of it: from here on it goes through.
    let _hangup = signal(SignalKind::hangup());
    let report = carry_out(&aws, &request.document, plan, &screen).await;
    screen.sum_up(&report, &request.release);
    ended(report.failed.is_empty())
}

fn ended(all: bool) -> Ended {
    if all { Ended::Done } else { Ended::Incomplete }
}

fn not_begun(why: &str) -> Ended {
    eprintln!("greenlight: {why}.");
    Ended::NotBegun
}

/// The document, the release and the components, or everything that is wrong with them.
fn request(options: &BreakGlassOptions) -> Result<Request, Vec<Problem>> {
    let mut problems = Vec::new();
    let release = Version::parse(&options.release);
    if let Err(error) = &release {
        problems.push(Problem::of("--release", error));
    }
    let document = document::read(&options.environment_file).map_err(|found| problems.extend(found));
    let mut components = Vec::new();
    if let Ok(document) = &document {
        let known = || document.components.iter().map(|component| component.name.clone());
        for name in &options.components {
            if !known().any(|known| known.as_str() == name) {
                let names: Vec<String> = known().map(|name| name.to_string()).collect();
                let message = format!("the document has no component {name:?}; it has {}", names.join(", "));
                problems.push(Problem::of("--component", &message));
            }
        }
        let wanted = |name: &Name| {
            options.components.is_empty() || options.components.iter().any(|wanted| wanted == name.as_str())
        };
        components = known().filter(wanted).collect();
    }
    match (release, document) {
        (Ok(release), Ok(document)) if problems.is_empty() => Ok(Request {
            document,
            release,
            components,
        }),
        _ => Err(problems),
    }
}

/// What became of it: a line for each pointer and each invalidation.
#[derive(Default)]
struct Report {
    done: Vec<String>,
    warnings: Vec<String>,
    failed: Vec<(String, Failure)>,
}

/// Component by component; what fails stops nothing but itself.
async fn carry_out(aws: &Aws, document: &EnvironmentDocument, plan: Plan, screen: &Screen) -> Report {
    let mut report = Report {
        failed: plan.failures(),
        ..Report::default()
    };
    screen.say("");
    for component in &plan.components {
        if !write_all(component, screen, &mut report).await {
            continue;
        }
        if component.edge_ttl > Duration::ZERO {
            let secs = component.edge_ttl.as_secs();
            screen.say(format!(
                "{}: waiting {secs} s: every edge may hold the old pointer",
                component.name
            ));
            tokio::time::sleep(component.edge_ttl).await;
        }
        let Some(clear) = &component.invalidation else {
            continue;
        };
        let cloudfront = aws.cloudfront(&document.aws).await;
        let what = format!(
            "{}: invalidation on distribution {}",
            component.name, clear.distribution
        );
        match invalidate::invalidate(&cloudfront, component, clear, screen).await {
            Ok((line, Cleared::Completed)) => report.done.push(format!("{what}: {line}")),
            Ok((line, Cleared::NotSeen(why))) => {
                report.done.push(format!("{what}: {line}"));
                report.warnings.push(format!("{what}: {why}"));
            }
            Err(failure) => report.failed.push((what, failure)),
        }
    }
    report
}

/// Every pointer of a component side by side, each by itself. False: none says the release, so there is nothing to
/// wait for and nothing to clear.
async fn write_all(component: &ComponentPlan, screen: &Screen, report: &mut Report) -> bool {
    let pointers: Vec<(&PointerPlan, &str)> = component.to_write().collect();
    let outcomes = join_all(pointers.iter().map(async |(pointer, wanted)| {
        let outcome = write::write(component.router.as_ref(), pointer, wanted).await;
        let name = &component.name;
        match &outcome {
            Ok(outcome) => screen.say(format!("{name}: {}: {outcome}", pointer.described)),
            Err(failure) => screen.say(format!("{name}: {}: FAILED: {}", pointer.described, failure.message)),
        }
        outcome
    }))
    .await;
    let mut any = component
        .pointers
        .iter()
        .any(|pointer| matches!(pointer.action, Action::Already));
    for ((pointer, _), outcome) in pointers.into_iter().zip(outcomes) {
        let what = format!("{}: {}", component.name, pointer.described);
        match outcome {
            Ok(outcome) => {
                any = true;
                report.done.push(format!("{what}: {outcome}"));
            }
            Err(failure) => report.failed.push((what, failure)),
        }
    }
    for pointer in &component.pointers {
        if matches!(pointer.action, Action::Already) {
            let (name, already) = (&component.name, Outcome::Already);
            report.done.push(format!("{name}: {}: {already}", pointer.described));
        }
    }
    any
}
