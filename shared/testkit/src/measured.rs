//! Figures for `scripts/bench`, which alone judges speed.

/// Prints a figure as `scripts/bench` reads it: as one row of its table.
///
/// `wanted` is its bar, such as `<= 10`, or empty.
#[expect(clippy::print_stdout, reason = "scripts/bench reads it")]
pub fn measured(name: &str, value: f64, unit: &str, wanted: &str, detail: &str) {
    println!("MEASURED\t{name}\t{value:.2}\t{unit}\t{wanted}\t{detail}");
}
