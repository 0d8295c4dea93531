//! The README says what the code does.

use platform::domain::{Permission, Standing};

use crate::rig::Rig;

const README: &str = include_str!("../../README.md");

#[test]
fn the_readmes_table_of_roles_is_the_codes() {
    let order = [Standing::Guest, Standing::Member, Standing::Admin, Standing::Owner, Standing::Staff];
    let mut lines = README.split("## Who may do what").nth(1).unwrap().lines().skip_while(|line| !line.starts_with('|'));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>();
    let head: Vec<&str> = ["permission"].into_iter().chain(order.map(Standing::as_str)).collect();
    assert_eq!(cells(lines.next().unwrap()), head);
    let told: Vec<Vec<&str>> = lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect();
    let expected: Vec<Vec<&str>> = Permission::all()
        .map(|permission| {
            let holds = |standing| if permission.holders().contains(&standing) { "x" } else { "" };
            [permission.as_str()].into_iter().chain(order.map(holds)).collect()
        })
        .collect();
    assert_eq!(told, expected);
}

/// The words of a line of shell, without their quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for symbol in line.chars() {
        match quote {
            Some(open) if symbol == open => quote = None,
            None if symbol == '"' || symbol == '\'' => quote = Some(symbol),
            None if symbol == ' ' => words.push(String::new()),
            Some(_) | None => words.last_mut().unwrap().push(symbol),
        }
    }
    words
}

#[tokio::test]
async fn the_readmes_walk_goes_as_it_says() {
    let rig = Rig::start().await;
    let token = rig.provider.token(&rig.ours.owner, &rig.clock);
    let (mut place, mut tag, mut steps) = (String::new(), String::new(), 0);
    for line in README.lines().filter(|line| line.starts_with("curl ")) {
        let (call, status) = line.rsplit_once(" # ").unwrap();
        let filled = words(call).into_iter().map(|word| word.replace("$TOKEN", &token).replace("$WHERE", &place).replace("$TAG", &tag));
        let filled: Vec<String> = filled.collect();
        let after = |option: &str| filled.iter().position(|word| word == option).map(|at| filled[at + 1].clone());
        let headers: Vec<(&str, &str)> =
            filled.windows(2).filter(|pair| pair[0] == "-H").map(|pair| pair[1].split_once(": ").unwrap()).collect();
        let body = after("--json").map(|text| serde_json::from_str(&text).unwrap());
        let method = after("-X").unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
        let path = filled.iter().find_map(|word| word.strip_prefix("$API")).unwrap();
        let answer = rig.send(&method, path, &headers, body.as_ref()).await.expect(status.parse().unwrap());
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        place = header("location").unwrap_or(place);
        tag = header("etag").unwrap_or(tag);
        steps += 1;
    }
    assert!(steps > 10);
}
