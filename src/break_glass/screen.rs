//! What the person sees and answers.
//!
//! A terminal that has gone is no reason to stop in the middle: what can't be printed isn't.

use std::{
    fmt::Display,
    io::{self, BufRead, Write},
    sync::{Mutex, PoisonError},
};

use super::{
    Report,
    plan::{Action, ComponentPlan, Plan},
};
use crate::domain::names::Version;

/// Characters of a pointer's value that are shown. Ours are shorter.
const SHOWN_MAX: usize = 1024;
/// Paths of an invalidation that are named.
const PATHS_SHOWN: usize = 5;

/// Lines for the person, from everything that runs side by side.
pub(super) struct Screen {
    out: Mutex<Box<dyn Write + Send>>,
}

impl Screen {
    pub fn stdout() -> Self {
        Self::on(Box::new(io::stdout()))
    }

    fn on(out: Box<dyn Write + Send>) -> Self {
        Self { out: Mutex::new(out) }
    }

    /// One line, at once.
    pub fn say(&self, line: impl Display) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    /// What is there, what will be, and what that means.
    pub fn show(&self, plan: &Plan, release: &Version) {
        for component in &plan.components {
            self.show_component(component);
        }
        self.say(format!(
            "\nThis writes {release} past Greenlight's database: the service will see it as drift. If the service \
             and its\ndatabase are up, a promotion or a rollback is the way."
        ));
        self.say(afterwards(release));
    }

    fn show_component(&self, component: &ComponentPlan) {
        self.say(format!("\nComponent {}", component.name));
        for pointer in &component.pointers {
            self.say(format!("  {}", pointer.described));
            let says = shown(pointer.says.as_deref());
            match &pointer.action {
                Action::Write(wanted) => {
                    self.say(format!("    says      {says}\n    will say  {}", shown(Some(wanted))));
                }
                Action::Already => self.say(format!("    says      {says}\n    will say  the same")),
                Action::Leave(failure) => {
                    self.say(format!("    LEFT AS IT IS: {}", failure.message));
                    if let Some(hint) = &failure.hint {
                        self.say(format!("    {hint}"));
                    }
                }
            }
        }
        let secs = component.edge_ttl.as_secs();
        self.say(match &component.invalidation {
            Some(clear) => format!(
                "  then, {secs} s later, an invalidation of {} on distribution {}",
                few(&clear.paths),
                clear.distribution
            ),
            None => format!("  then {secs} s for the edge; nothing is invalidated"),
        });
    }

    /// What was written and what was not.
    pub fn sum_up(&self, report: &Report, release: &Version) {
        let list = |title: &str, lines: &[String]| {
            if !lines.is_empty() {
                self.say(format!("\n{title}"));
                lines.iter().for_each(|line| self.say(format!("  {line}")));
            }
        };
        list("Done:", &report.done);
        list("Warnings:", &report.warnings);
        if !report.failed.is_empty() {
            self.say("\nNOT done:");
        }
        for (what, failure) in &report.failed {
            self.say(format!("  {what}: {}", failure.message));
            if let Some(hint) = &failure.hint {
                self.say(format!("    {hint}"));
            }
        }
        if !report.failed.is_empty() {
            self.say("\nRun it again when the cause is removed: what is written already is written once more.");
        }
        self.say(afterwards(release));
    }
}

fn afterwards(release: &Version) -> String {
    format!(
        "\nAfterwards, when the service is back:\n  \
         - A job that was unfinished goes on, and may move traffic again: POST a rollback at once, to {release} with\n    \
         {{\"to\": \"{release}\"}} if it has been active there before.\n  \
         - Else register {release} and promote it with \"on_drift\": \"overwrite\". Without that the next promotion\n    \
         ends with pointer_drifted."
    )
}

/// Asks for the release. True: exactly that was typed.
///
/// # Errors
/// When nothing can be read, or it is no text.
pub(super) fn ask(input: &mut impl BufRead, output: &mut impl Write, release: &Version) -> io::Result<bool> {
    write!(output, "\nType the release to go on: ")?;
    output.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    let typed = line.strip_suffix('\n').unwrap_or(&line);
    Ok(typed.strip_suffix('\r').unwrap_or(typed) == release.as_str())
}

/// A pointer's value on one line. Anybody may have written it: nothing in it reaches the terminal as a command.
pub(super) fn shown(value: Option<&str>) -> String {
    let Some(value) = value else {
        return "nothing (it does not exist)".to_owned();
    };
    let mut text = String::new();
    for c in value.chars().take(SHOWN_MAX) {
        if c.is_control() || is_invisible(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    if value.chars().nth(SHOWN_MAX).is_some() {
        text.push('…');
    }
    if text.is_empty() {
        "an empty text".to_owned()
    } else {
        text
    }
}

/// Marks that turn the direction of text, or have no width: they could make a line look like another.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The first of them, and how many more there are.
pub(super) fn few(paths: &[String]) -> String {
    let named = paths.iter().take(PATHS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(PATHS_SHOWN) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_itself_goes_on() {
        let release = Version::parse("1.42.0").unwrap();
        for (typed, goes_on) in [
            ("1.42.0\n", true),
            ("1.42.0\r\n", true),
            ("1.42.0", true),
            ("1.42.0\nmore", true),
            ("", false),
            ("\n", false),
            ("y\n", false),
            ("yes\n", false),
            ("1.42\n", false),
            (" 1.42.0\n", false),
            ("1.42.0 \n", false),
            ("1.42.00\n", false),
            ("\n1.42.0\n", false),
        ] {
            let mut asked = Vec::new();
            let answer = ask(&mut typed.as_bytes(), &mut asked, &release).unwrap();
            assert_eq!(answer, goes_on, "{typed:?}");
            assert!(
                String::from_utf8(asked)
                    .unwrap()
                    .ends_with("Type the release to go on: ")
            );
        }
        assert!(ask(&mut &b"\xff\n"[..], &mut Vec::new(), &release).is_err());
    }

    #[test]
    fn what_a_pointer_says_can_not_command_the_terminal() {
        assert_eq!(shown(Some("{\"v\":1}")), "{\"v\":1}");
        assert_eq!(shown(Some("\u{1b}[2J\n\u{202e}x")), "\\u{1b}[2J\\n\\u{202e}x");
        assert_eq!(shown(Some(&"x".repeat(2000))).chars().count(), SHOWN_MAX + 1);
        assert_eq!(shown(Some("")), "an empty text");
        assert!(shown(None).contains("does not exist"));
    }

    #[test]
    fn a_screen_that_is_gone_stops_nothing() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        Screen::on(Box::new(Gone)).say("still here");
    }

    #[test]
    fn many_paths_are_counted() {
        let paths = |count: usize| (0..count).map(|at| format!("/{at}")).collect::<Vec<_>>();
        assert_eq!(few(&paths(2)), "/0, /1");
        assert_eq!(few(&paths(7)), "/0, /1, /2, /3, /4 and 2 more");
    }
}
