//! The known name that a wrong one was probably meant to be.

/// Names of the first server's options and of similar servers, and ours.
const ALIASES: [(&str, &str); 8] = [
    ("port", "listen"),
    ("host", "listen"),
    ("bind", "listen"),
    ("address", "listen"),
    ("dbpath", "data_dir"),
    ("path", "data_dir"),
    ("token", "auth.token"),
    ("secret", "cluster.secret"),
];

/// The nearest of `known` to `name`, unless nothing is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let wanted = folded(name);
    let wanted_leaf = folded(leaf(name));
    let alias = ALIASES.iter().find(|(alias, _)| *alias == wanted_leaf).map(|(_, ours)| *ours);
    let same = |candidate: &&str| folded(candidate) == wanted || Some(*candidate) == alias;
    // The right name in the wrong table, or without its table.
    let same_leaf = |candidate: &&str| folded(leaf(candidate)) == wanted_leaf;
    let close = |candidate: &'a str| {
        let whole = distance(&wanted, &folded(candidate));
        let leaves = distance(&wanted_leaf, &folded(leaf(candidate)));
        let length = leaf(candidate).chars().count().max(3);
        (whole.min(leaves) <= length / 3).then_some((whole.min(leaves), whole, candidate))
    };
    let mut candidates = known.clone();
    candidates
        .find(same)
        .or_else(|| known.clone().find(same_leaf))
        .or_else(|| known.filter_map(close).min().map(|(_, _, candidate)| candidate))
}

/// The name without case and separators, as `antiEntropyInterval` and `anti-entropy-interval` are the same to a person.
fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

fn leaf(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, leaf)| leaf)
}

/// Edit distance with transpositions of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    #[test]
    fn what_was_meant_is_found() {
        let known = Key::ALL.map(Key::name);
        for (typed, meant) in [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("port", Some("listen")),
            ("dbPath", Some("data_dir")),
            ("data-dir", Some("data_dir")),
            ("datadir", Some("data_dir")),
            ("peer", Some("peers")),
            ("token", Some("auth.token")),
            ("sync.antiEntropyInterval", Some("sync.anti_entropy_interval")),
            ("sync.anti_entropy_intervall", Some("sync.anti_entropy_interval")),
            ("max_versions", Some("sync.max_versions")),
            ("sync.default_strategy", Some("conflict.default_strategy")),
            ("conflict.pathStrategies", Some("conflict.path_strategies")),
            ("cluster.token", Some("auth.token")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, known.iter().copied()), meant, "{typed}");
        }
    }
}
