//! The time of each operation.

use rejoin_micro::CASES;

fn main() {
    divan::main();
}

#[divan::bench(args = CASES.iter().map(|(name, _)| *name))]
fn operation(bencher: divan::Bencher<'_, '_>, name: &str) {
    if let Some((_, make)) = CASES.iter().find(|(known, _)| *known == name) {
        bencher.bench_local(make());
    }
}
