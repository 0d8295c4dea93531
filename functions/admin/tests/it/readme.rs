//! The README says what the code does.

use platform::domain::{Permission, Standing};

const README: &str = include_str!("../../README.md");

/// The cells of the table under a heading, but for its head and rule.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let rows =
        README.split(heading).nth(1).unwrap().lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |row: &'static str| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
    rows.skip(2).map(cells).collect()
}

#[test]
fn the_readmes_table_of_roles_is_the_codes() {
    let order = [Standing::Guest, Standing::Member, Standing::Admin, Standing::Owner, Standing::Staff];
    let expected: Vec<Vec<&str>> = Permission::all()
        .map(|permission| {
            let holds = |standing| if permission.holders().contains(&standing) { "x" } else { "" };
            [permission.as_str()].into_iter().chain(order.map(holds)).collect()
        })
        .collect();
    assert_eq!(table("## Who may do what"), expected);
}

#[test]
fn the_readmes_table_of_operations_is_the_codes() {
    let mut expected: Vec<Vec<&str>> =
        admin::operations().map(|row| vec![row.name, row.method, row.path, row.permission.as_str()]).collect();
    let mut told = table("## What it serves");
    expected.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, expected);
}
