//! `rejoin resolver`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Ended;
use crate::arguments::Global;

#[derive(Debug, Args)]
pub(crate) struct Resolver {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether a resolver gives the same result in every order, grouping and engine
    #[command(after_help = "\
Ends with 0 when it does, on every sample that it has a result for, and with 1 when it does not, or when it fails on a
sample of your own or on all built-in ones. A resolver that depends on the order of two equal timestamps is told of,
and passes: nodes always fold in one order.

Examples:
  rejoin resolver test inventory.js
  curl -s 127.0.0.1:3000/api/_explain/inventory/bolts >> samples.jsonl
  rejoin resolver test inventory.js --samples samples.jsonl")]
    Test(Test),
}

#[derive(Debug, Args)]
struct Test {
    /// The JavaScript file
    file: PathBuf,
    /// Conflicts to try it on instead of the built-in ones: a line each, as `GET /api/_explain/{path}` answers
    #[arg(long, value_name = "FILE.jsonl")]
    samples: Option<PathBuf>,
}

impl Resolver {
    pub(crate) fn run(self, global: &Global) -> Ended {
        match self.action {
            Action::Test(test) => test.run(global),
        }
    }
}

#[cfg(not(feature = "javascript"))]
impl Test {
    fn run(self, _global: &Global) -> Ended {
        use crate::{exit::Exit, failure::Failure};
        let Test { file: _, samples: _ } = self;
        Err(Failure::new(
            Exit::Usage,
            "no_javascript",
            "This build has no JavaScript (feature `javascript`).",
        ))
    }
}

#[cfg(feature = "javascript")]
mod test {
    use std::path::Path;

    use rejoin_resolver::Script;
    use rejoin_resolver::trial::{self, Report, Sample};
    use serde::Serialize;

    use super::Test;
    use crate::Ended;
    use crate::arguments::Global;
    use crate::exit::Exit;
    use crate::failure::{Failure, words};
    use crate::output::{self, Style};

    /// Bytes of a file of samples. 64 MiB: it is a debugging aid, read whole.
    const SAMPLES_BYTES_MAX: u64 = 64 << 20;

    /// What the whole trial found, as `--json` shows it.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Verdict<'a> {
        file: &'a str,
        name: &'a str,
        ok: bool,
        deterministic: bool,
        order_independent: bool,
        associative: bool,
        /// Samples with a result.
        resolved: usize,
        /// Samples on which it failed.
        failed: usize,
        samples: &'a [Report],
    }

    impl Test {
        pub(super) fn run(self, global: &Global) -> Ended {
            let script = Script::read(&self.file).map_err(|error| {
                let message = format!("{} is no resolver: {error}.", self.file.display());
                Failure::new(Exit::Usage, "invalid_resolver", message).hint("See docs/resolvers.md.")
            })?;
            let samples = match &self.samples {
                Some(path) => read(path)?,
                None => Sample::built_in(),
            };
            let reports: Vec<Report> = samples.iter().map(|sample| trial::run(&script, sample)).collect();
            let verdict = verdict(&script, &reports, self.samples.is_some());
            match global.json {
                true => output::json(&verdict)?,
                false => show(&verdict)?,
            }
            match verdict.ok {
                true => Ok(()),
                false => Err(Failure::new(
                    Exit::General,
                    "resolver_rejected",
                    format!("{} is not a resolver to agree on.", verdict.file),
                )
                .hint("Its result should depend on the two versions only, whichever comes first.")),
            }
        }
    }

    fn verdict<'a>(script: &'a Script, reports: &'a [Report], own_samples: bool) -> Verdict<'a> {
        let failed = reports.iter().filter(|report| report.fault.is_some()).count();
        let resolved = reports.len() - failed;
        // Of equal timestamps, whichever comes first may win.
        let order_independent =
            reports.iter().all(|report| report.tie || report.order_independent != Some(false));
        let associative = reports.iter().all(|report| report.tie || report.associative != Some(false));
        let deterministic = reports.iter().all(|report| report.deterministic);
        let failures_count = own_samples && failed > 0;
        Verdict {
            file: script.file(),
            name: script.name(),
            ok: deterministic && order_independent && associative && resolved > 0 && !failures_count,
            deterministic,
            order_independent,
            associative,
            resolved,
            failed,
            samples: reports,
        }
    }

    fn read(path: &Path) -> Result<Vec<Sample>, Failure> {
        let refuse = |reason: String| {
            let message = format!("The samples in {} cannot be used: {reason}.", path.display());
            Failure::new(Exit::Usage, "invalid_samples", message)
                .hint("Each line is the answer of GET /api/_explain/{path}.")
        };
        let bytes = std::fs::metadata(path).map_err(|error| refuse(words(&error)))?.len();
        if bytes > SAMPLES_BYTES_MAX {
            return Err(refuse(format!("{bytes} bytes are more than {SAMPLES_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(words(&error)))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let parse = |(index, line): (usize, &str)| {
            Sample::parse(line).map_err(|reason| refuse(format!("line {}: {reason}", index + 1)))
        };
        let samples = lines.map(parse).collect::<Result<Vec<_>, _>>()?;
        if samples.is_empty() {
            return Err(refuse("there are none".to_owned()));
        }
        Ok(samples)
    }

    fn show(verdict: &Verdict<'_>) -> Ended {
        let style = Style::of_stdout();
        for report in verdict.samples {
            let value = report.value.as_ref().map_or("deleted", |value| value.get());
            match (&report.fault, &report.counterexample) {
                (Some(fault), _) => output::line(format_args!("{}  {fault}", style.dim(&report.path)))?,
                (None, None) => output::line(format_args!("{}  {value}", style.dim(&report.path)))?,
                (None, Some([one, other])) => {
                    let note = if report.tie { " (equal timestamps)" } else { "" };
                    let shown = |way: &trial::Way| {
                        let value = way.value.as_ref().map_or("deleted", |value| value.get());
                        format!("{} gives {value}", way.fold)
                    };
                    output::line(format_args!(
                        "{}  {}, {}{note}",
                        style.dim(&report.path),
                        shown(one),
                        shown(other)
                    ))?;
                }
            }
        }
        let told = |holds: bool| if holds { style.green("yes") } else { style.red("no") };
        output::line(format_args!("deterministic      {}", told(verdict.deterministic)))?;
        output::line(format_args!("order-independent  {}", told(verdict.order_independent)))?;
        output::line(format_args!("associative        {}", told(verdict.associative)))?;
        let (resolved, failed) = (verdict.resolved, verdict.failed);
        output::line(format_args!("samples            {resolved} resolved, {failed} failed"))
    }
}
