//! Does one operation so many times: `rejoin-micro NAME COUNT`. Without arguments, lists the names.

use std::process::ExitCode;

use rejoin_micro::CASES;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, count] = arguments.as_slice() else {
        CASES.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let case = CASES.iter().find(|(known, _)| known == name);
    let (Some((_, make)), Ok(count)) = (case, count.parse::<u32>()) else {
        eprintln!("error: no operation {name}, or {count} is not a number");
        return ExitCode::FAILURE;
    };
    let mut operation = make();
    let used = (0..count).fold(0_usize, |sum, _| sum.wrapping_add(operation()));
    // Nothing may be left out because its result is not needed.
    std::hint::black_box(used);
    ExitCode::SUCCESS
}
