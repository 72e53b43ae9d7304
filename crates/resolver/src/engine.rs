//! One call of a resolver in a fresh engine.
//!
//! Fresh each time, because a script can remember things in ways that cannot all be taken away, and what it remembers
//! differs from node to node. It costs a fraction of a millisecond; [`crate::JavaScript`] remembers results.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use rquickjs::context::{EvalOptions, intrinsic};
use rquickjs::{CatchResultExt as _, CaughtError, Context, Ctx, Function, Module, Object, Runtime, Value};

use crate::fault::Fault;
use crate::limits::{MEMORY_BYTES_MAX, STACK_BYTES_MAX, TICKS_MAX, TIME_MAX};
use crate::script::Script;

/// What the engine has: no `Date`, no `performance`, no weak references, whose end depends on the collector.
type Intrinsics = (
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    // Not to be waited for: without it the engine's own modules do not run.
    intrinsic::Promise,
);

/// Runs before every resolver.
const HARNESS: &str = include_str!("harness.js");

/// Finds out whether a script gives a function.
pub(crate) fn check(script: &Script) -> Result<(), Fault> {
    in_engine(|context| {
        let harness: Object<'_> = context.eval(HARNESS)?;
        find(context, &harness, script).map(drop)
    })
}

/// Calls the resolver with JSON texts; gives the JSON text that the harness made of its result.
pub(crate) fn call(script: &Script, path: &str, local: &str, remote: &str) -> Result<String, Fault> {
    in_engine(|context| {
        let harness: Object<'_> = context.eval(HARNESS)?;
        let resolver = find(context, &harness, script)?;
        let call: Function<'_> = harness.get("call")?;
        call.call((resolver, path, local, remote))
    })
}

/// Runs the script; gives the function that it names, in any of the ways that docs/resolvers.md lists.
fn find<'js>(context: &Ctx<'js>, harness: &Object<'js>, script: &Script) -> rquickjs::Result<Function<'js>> {
    let last: Value<'js> = if is_module(script.source()) {
        let module = Module::declare(context.clone(), script.file(), script.source())?;
        let (module, evaluated) = module.eval()?;
        evaluated.finish::<()>()?;
        module.get("default")?
    } else {
        let mut options = EvalOptions::default();
        options.strict = false;
        options.filename = Some(script.file().to_owned());
        context.eval_with_options(script.source(), options)?
    };
    let found: Function<'js> = harness.get("found")?;
    let resolver: Value<'js> = found.call((last,))?;
    resolver.into_function().ok_or_else(|| {
        rquickjs::Exception::throw_type(
            context,
            "the file gives no function: it should be `(path, localData, remoteData) => result`, alone or after \
             `export default`",
        )
    })
}

/// Whether a line begins with `export`, which only modules may have.
fn is_module(source: &str) -> bool {
    source.lines().any(|line| {
        let rest = line.trim_start().strip_prefix("export");
        rest.is_some_and(|rest| rest.starts_with([' ', '\t', '{']))
    })
}

/// Runs `work` in a fresh engine, within all bounds but that of a call that never counts a tick.
fn in_engine<T>(work: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<T>) -> Result<T, Fault> {
    let started = |error: rquickjs::Error| Fault::threw(&format!("the engine does not start: {error}"));
    let runtime = Runtime::new().map_err(started)?;
    runtime.set_memory_limit(MEMORY_BYTES_MAX);
    runtime.set_max_stack_size(STACK_BYTES_MAX);
    let stopped: Rc<Cell<Option<Fault>>> = Rc::default();
    runtime.set_interrupt_handler(Some(Box::new(meter(Rc::clone(&stopped)))));
    let context = Context::custom::<Intrinsics>(&runtime).map_err(started)?;
    context.with(|context| {
        let outcome = work(&context).catch(&context);
        match (stopped.take(), outcome) {
            // A script cannot catch the end of its steps.
            (Some(fault), _) => Err(fault),
            (None, Ok(done)) => Ok(done),
            (None, Err(caught)) => Err(fault(&caught)),
        }
    })
}

/// Counts ticks and looks at the clock; true ends the run.
fn meter(stopped: Rc<Cell<Option<Fault>>>) -> impl FnMut() -> bool {
    let (mut ticks, deadline) = (0, Instant::now() + TIME_MAX);
    move || {
        ticks += 1;
        let fault = match () {
            () if ticks > TICKS_MAX => Fault::Steps,
            () if Instant::now() >= deadline => Fault::Time,
            () => return false,
        };
        stopped.set(Some(fault));
        true
    }
}

fn fault(caught: &CaughtError<'_>) -> Fault {
    let text = match caught {
        CaughtError::Exception(exception) => {
            let name = exception.get::<_, String>("name").unwrap_or_else(|_| "Error".to_owned());
            let message = exception.message().unwrap_or_default();
            match place(&exception.stack().unwrap_or_default()) {
                Some(place) => format!("{name}: {message} ({place})"),
                None => format!("{name}: {message}"),
            }
        }
        // With its last memory the engine cannot even make an error.
        CaughtError::Value(value) if value.is_null() => return Fault::Memory,
        CaughtError::Value(value) => value
            .as_string()
            .and_then(|text| text.to_string().ok())
            .unwrap_or_else(|| format!("a value of type {} that is no error", value.type_name())),
        CaughtError::Error(error) => error.to_string(),
    };
    if text.contains("out of memory") { Fault::Memory } else { Fault::threw(&text) }
}

/// File and line from the first line of a stack that has them.
fn place(stack: &str) -> Option<String> {
    let line = stack.lines().find(|line| !line.contains("eval_script") && line.contains(':'))?;
    let place = line.trim().trim_start_matches("at ").trim_end_matches(')');
    Some(place.rsplit_once('(').map_or(place, |(_, place)| place).to_owned())
}
