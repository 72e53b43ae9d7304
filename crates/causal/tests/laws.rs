//! The algebra: what merging, sets, bytes and clocks must obey for any input.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is a failure")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::Index;
use rejoin_causal::codec::{self, DecodeError, LifeIndex as _, LifeTable, Reader};
use rejoin_causal::{
    Document, Dot, Epoch, Floor, Frontier, Hlc, HlcClock, IntervalSet, Merged, NodeId, Token, Version,
    VersionVector, token,
};

// Documents that can be reached: what a few replicas make of one path.

type Doc = Document<u8>;

#[derive(Clone, Debug)]
enum Step {
    /// A write over those versions of the replica whose bit is set.
    Write {
        at: usize,
        observed: u8,
        body: u8,
    },
    Merge {
        from: usize,
        to: usize,
    },
    Restart {
        at: usize,
    },
}

const REPLICAS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let at = 0..REPLICAS;
    prop_oneof![
        4 => (at.clone(), prop_oneof![Just(0xff), any::<u8>()], any::<u8>())
            .prop_map(|(at, observed, body)| Step::Write { at, observed, body }),
        3 => (at.clone(), at.clone()).prop_map(|(from, to)| Step::Merge { from, to }),
        1 => at.prop_map(|at| Step::Restart { at }),
    ]
}

/// Every state that any replica was in.
fn states(steps: &[Step]) -> Vec<Doc> {
    let mut documents = vec![Doc::new(); REPLICAS];
    let mut lives = [(Epoch(1), 0u64); REPLICAS];
    let mut seen = vec![Doc::new()];
    for step in steps {
        match *step {
            Step::Write { at, observed, body } => {
                lives[at].1 += 1;
                let dot = Dot { node: node(at), epoch: lives[at].0, seq: lives[at].1 };
                let hlc = Hlc(u64::from(body));
                let mut bit = 0;
                documents[at] = documents[at].written(Version { dot, hlc, body }, |_| {
                    bit += 1;
                    observed & (1 << ((bit - 1) % 8)) != 0
                });
                seen.push(documents[at].clone());
            }
            Step::Merge { from, to } => {
                documents[to] = merged(&documents[to], &documents[from]);
                seen.push(documents[to].clone());
            }
            Step::Restart { at } => lives[at] = (Epoch(lives[at].0.0 + 1), 0),
        }
    }
    seen
}

/// Three states of one history.
fn three_states() -> impl Strategy<Value = [Doc; 3]> {
    (vec(step(), 1..40), any::<[Index; 3]>()).prop_map(|(steps, chosen)| {
        let all = states(&steps);
        chosen.map(|index| index.get(&all).clone())
    })
}

fn merged(a: &Doc, b: &Doc) -> Doc {
    a.clone().merge(b.clone(), &Frontier::new(), None).document
}

/// Both sides of a digest session end like this.
fn joined((a, a_applied): (&Doc, &Frontier), (b, b_applied): (&Doc, &Frontier)) -> (Doc, Frontier) {
    let mut applied = a_applied.clone();
    applied.union_with(b_applied);
    (a.clone().merge(b.clone(), a_applied, Some(b_applied)).document, applied)
}

fn node(index: usize) -> NodeId {
    NodeId([u8::try_from(index).unwrap(); 16])
}

/// A dot of few nodes, epochs and numbers, so that sets of them meet.
fn pool_dot() -> impl Strategy<Value = Dot> {
    (0..REPLICAS, 1..4u64, 1..12u64).prop_map(|(at, epoch, seq)| Dot {
        node: node(at),
        epoch: Epoch(epoch),
        seq,
    })
}

fn pool_dots() -> impl Strategy<Value = BTreeSet<Dot>> {
    btree_set(pool_dot(), 0..40)
}

fn frontier_of(dots: &BTreeSet<Dot>) -> Frontier {
    dots.iter().copied().collect()
}

fn pool_frontier() -> impl Strategy<Value = Frontier> {
    pool_dots().prop_map(|dots| frontier_of(&dots))
}

proptest! {
    #[test]
    fn merge_is_commutative_associative_and_idempotent([a, b, c] in three_states()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&merged(&a, &b), &b), merged(&a, &b));
        prop_assert_eq!(merged(&a, &a), a);
    }

    /// A digest session joins whole states (documents with frontiers), whatever the frontiers hold.
    #[test]
    fn joining_states_with_frontiers_obeys_the_same_laws(
        [a, b, c] in three_states(),
        [fa, fb, fc] in [pool_frontier(), pool_frontier(), pool_frontier()],
    ) {
        let (ab, f_ab) = joined((&a, &fa), (&b, &fb));
        let (bc, f_bc) = joined((&b, &fb), (&c, &fc));
        prop_assert_eq!(&(ab.clone(), f_ab.clone()), &joined((&b, &fb), (&a, &fa)));
        prop_assert_eq!(joined((&ab, &f_ab), (&c, &fc)), joined((&a, &fa), (&bc, &f_bc)));
        prop_assert_eq!(joined((&a, &fa), (&a, &fa)), (a, fa));
    }

    #[test]
    fn a_merge_reports_what_it_did([a, b, _] in three_states(), applied in pool_frontier(), senders in pool_frontier()) {
        let Merged { document, added, removed, changed } = a.clone().merge(b.clone(), &applied, Some(&senders));
        let mut dots: BTreeSet<Dot> = a.versions().iter().map(|version| version.dot).collect();
        for removed in &removed {
            prop_assert!(dots.remove(&removed.version.dot));
        }
        for &dot in &added {
            prop_assert!(dots.insert(dot) && !applied.contains(dot));
        }
        prop_assert_eq!(dots.into_iter().collect::<Vec<_>>(), document.versions().iter().map(|v| v.dot).collect::<Vec<_>>());
        prop_assert!(document.vv().dominates(a.vv()) && document.vv().dominates(b.vv()));
        prop_assert_eq!(changed, document != a);
        prop_assert_eq!(Doc::from_parts(document.vv().clone(), document.versions().to_vec()), Some(document));
    }

    #[test]
    fn a_write_merged_is_the_write(steps in vec(step(), 1..40), chosen: Index, observed: u8, late: bool) {
        let all = states(&steps);
        let before = chosen.get(&all).clone();
        let dot = Dot { node: node(0), epoch: Epoch(if late { 100 } else { 99 }), seq: 1 };
        let sees = |version: &Version<u8>| observed & (1 << (version.dot.seq % 8)) != 0;
        let after = before.written(Version { dot, hlc: Hlc(1), body: 7 }, sees);
        let applied: Frontier = before.versions().iter().map(|version| version.dot).collect();
        let merged = before.clone().merge(after.clone(), &applied, None);
        prop_assert_eq!(&merged.document, &after);
        prop_assert_eq!(merged.added, [dot]);
        let gone: Vec<Dot> = merged.removed.iter().map(|removed| removed.version.dot).collect();
        let seen: Vec<Dot> = before.versions().iter().filter(|v| sees(v)).map(|v| v.dot).collect();
        prop_assert_eq!(gone, seen);
    }

    #[test]
    fn a_document_needs_distinct_covered_versions(vv in pool_dots(), dots in vec(pool_dot(), 0..6)) {
        let vv: VersionVector = vv.into_iter().collect();
        let distinct = dots.iter().collect::<BTreeSet<_>>().len() == dots.len();
        let sound = distinct && dots.iter().all(|dot| vv.covers(*dot));
        let versions = dots.iter().map(|&dot| Version { dot, hlc: Hlc(0), body: 0u8 }).collect();
        prop_assert_eq!(Document::from_parts(vv, versions).is_some(), sound);
    }

    #[test]
    fn a_version_vector_covers_what_is_at_or_below_its_dots(a in pool_dots(), b in pool_dots(), dot in pool_dot()) {
        let covered = |dots: &BTreeSet<Dot>, dot: Dot| {
            dots.iter().any(|top| top.node == dot.node && top.position() >= dot.position())
        };
        let (vv_a, vv_b): (VersionVector, VersionVector) =
            (a.iter().copied().collect(), b.iter().copied().collect());
        prop_assert_eq!(vv_a.covers(dot), covered(&a, dot));
        prop_assert_eq!(vv_a.dominates(&vv_b), b.iter().all(|dot| covered(&a, *dot)));
        prop_assert_eq!(vv_a.dominates(&vv_b) && vv_b.dominates(&vv_a), vv_a == vv_b);
        let mut both = vv_a.clone();
        both.join(&vv_b);
        prop_assert_eq!(&both, &a.union(&b).copied().collect());
        prop_assert!(both.dominates(&vv_a) && both.dominates(&vv_b));
        prop_assert_eq!(frontier_of(&a).tops(), vv_a);
    }
}

// Sets of numbers and of dots, against the standard library's.

/// Ranges of a small universe at the bottom or at the very top of the numbers.
fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
    vec((0..=40u64, 0..8u64), 0..12)
}

fn numbers(low: u64, ranges: &[(u64, u64)]) -> (IntervalSet, BTreeSet<u64>) {
    let (mut set, mut reference) = (IntervalSet::new(), BTreeSet::new());
    for &(first, more) in ranges {
        let (first, last) = (low + first, (low + first).saturating_add(more));
        if more == 0 {
            assert_eq!(set.insert(first), reference.insert(first));
        } else {
            set.insert_range(first, last);
            reference.extend(first..=last);
        }
    }
    (set, reference)
}

fn assert_same(set: &IntervalSet, reference: &BTreeSet<u64>) {
    assert_eq!(set.iter().collect::<Vec<_>>(), reference.iter().copied().collect::<Vec<_>>());
    assert_eq!(set.len(), reference.len() as u64);
    assert_eq!(set.is_empty(), reference.is_empty());
    assert_eq!(set.last(), reference.last().copied());
    assert!(set.ranges().iter().all(|range| range.0 <= range.1));
    assert!(set.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{set:?} touches itself");
    assert_eq!(&reference.iter().rev().copied().collect::<IntervalSet>(), set, "one set has one form");
}

proptest! {
    #[test]
    fn an_interval_set_is_a_set(a in ranges(), b in ranges(), high: bool, probe in 0..=40u64) {
        let low = if high { u64::MAX - 40 } else { 1 };
        let ((a, in_a), (b, in_b)) = (numbers(low, &a), numbers(low, &b));
        assert_same(&a, &in_a);
        assert_same(&a.difference(&b), &(&in_a - &in_b));
        assert_same(&a.intersection(&b), &(&in_a & &in_b));
        let mut both = a.clone();
        both.union_with(&b);
        assert_same(&both, &(&in_a | &in_b));
        prop_assert_eq!(a.contains(low + probe), in_a.contains(&(low + probe)));
        prop_assert_eq!(a.is_superset(&b), in_a.is_superset(&in_b));
        prop_assert!(both.is_superset(&a) && a.is_superset(&a.intersection(&b)));
        let dense = in_a.iter().zip(1..).all(|(number, place)| *number == place);
        prop_assert_eq!(a.is_dense(), dense);
    }

    #[test]
    fn a_frontier_is_a_set_of_dots(a in pool_dots(), b in pool_dots(), dot in pool_dot()) {
        let (fa, fb) = (frontier_of(&a), frontier_of(&b));
        prop_assert_eq!(&fa.iter().collect::<BTreeSet<_>>(), &a);
        prop_assert_eq!(fa.len(), a.len() as u64);
        prop_assert_eq!(fa.is_empty(), a.is_empty());
        prop_assert_eq!(fa.contains(dot), a.contains(&dot));
        prop_assert_eq!(fa.is_superset(&fb), a.is_superset(&b));

        let mut both = fa.clone();
        both.union_with(&fb);
        prop_assert_eq!(&both, &frontier_of(&(&a | &b)));
        prop_assert_eq!(&fa.difference(&fb), &frontier_of(&(&a - &b)));
        let mut left = fa.clone();
        left.remove_all(&fb);
        prop_assert_eq!(&left, &frontier_of(&(&a - &b)));
        let mut more = fa.clone();
        prop_assert_eq!(more.insert(dot), !a.contains(&dot));

        let mut rows: BTreeMap<(NodeId, Epoch), BTreeSet<u64>> = BTreeMap::new();
        for dot in &a {
            rows.entry((dot.node, dot.epoch)).or_default().insert(dot.seq);
        }
        let found: BTreeMap<_, BTreeSet<u64>> =
            fa.rows().map(|(node, epoch, set)| ((node, epoch), set.iter().collect())).collect();
        prop_assert_eq!(found, rows);
        let by_node: Vec<_> =
            fa.nodes().flat_map(|node| fa.epochs(node).map(move |(epoch, _)| (node, epoch))).collect();
        prop_assert_eq!(by_node, fa.rows().map(|(node, epoch, _)| (node, epoch)).collect::<Vec<_>>());
    }

    #[test]
    fn dense_to_a_dot_means_nothing_known_of_is_missing_below(dots in pool_dots(), top in pool_dot()) {
        // What must be there: all up to the dot in its epoch, all up to the last known one in each earlier epoch.
        let earlier = dots.iter().filter(|dot| dot.node == top.node && dot.epoch < top.epoch);
        let whole = earlier.chain([&top]).all(|last| (1..=last.seq).all(|seq| dots.contains(&Dot { seq, ..*last })));
        prop_assert_eq!(frontier_of(&dots).is_dense_to(top), whole);
    }

    #[test]
    fn a_floor_fences_whoever_lacks_a_dot_below_it(
        ours in pool_dots(), theirs in pool_dots(), superset: bool, collected in pool_dots(), more in pool_dots(),
    ) {
        let theirs = if superset { &ours | &theirs } else { theirs };
        let mut floor = Floor::new();
        for &dot in &collected {
            floor.raise(dot);
        }
        let below = |dot: &Dot| {
            collected.iter().any(|top| (top.node, top.epoch) == (dot.node, dot.epoch) && dot.seq <= top.seq)
        };
        let lacks = ours.iter().any(|dot| below(dot) && !theirs.contains(dot));
        prop_assert_eq!(floor.fences(&frontier_of(&ours), &frontier_of(&theirs)), lacks);

        let mut other = Floor::new();
        for &dot in &more {
            other.raise(dot);
        }
        let mut both = floor.clone();
        let raised = both.join(&other);
        prop_assert!(raised.iter().all(|dot| both.rows().any(|row| row == *dot)));
        prop_assert_eq!(raised.is_empty(), both == floor);
        prop_assert!(both.join(&floor).is_empty() && both.join(&other).is_empty());
    }
}

// Bytes.

fn any_node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 16]>().prop_map(NodeId)
}

fn any_seq() -> impl Strategy<Value = u64> {
    prop_oneof![1..200u64, 1..=u64::MAX, Just(u64::MAX)]
}

fn any_dot() -> impl Strategy<Value = Dot> {
    (prop_oneof![(0..4usize).prop_map(node), any_node()], any::<u64>(), any_seq())
        .prop_map(|(node, epoch, seq)| Dot { node, epoch: Epoch(epoch), seq })
}

fn any_set() -> impl Strategy<Value = IntervalSet> {
    vec((any_seq(), 0..50u64), 0..8).prop_map(|ranges| {
        let mut set = IntervalSet::new();
        for (first, more) in ranges {
            set.insert_range(first, first.saturating_add(more));
        }
        set
    })
}

fn any_frontier() -> impl Strategy<Value = Frontier> {
    vec((any_dot(), any_set()), 0..8).prop_map(|rows| {
        let mut frontier = Frontier::new();
        for (dot, set) in rows {
            frontier.insert_row(dot.node, dot.epoch, &set);
        }
        frontier
    })
}

fn lives_of(dots: &[Dot]) -> LifeTable {
    let mut lives = LifeTable::default();
    for dot in dots {
        lives.index_of(dot.node, dot.epoch);
    }
    lives
}

/// Encodes, decodes with the table that resulted, and expects the same value from all of the bytes and no value
/// from fewer.
fn assert_round_trip<T: PartialEq + std::fmt::Debug>(
    value: &T,
    put: impl Fn(&mut Vec<u8>, &mut LifeTable, &T),
    take: impl Fn(&mut Reader<'_>, &LifeTable) -> Result<T, DecodeError>,
) {
    let (mut bytes, mut lives) = (Vec::new(), LifeTable::default());
    put(&mut bytes, &mut lives, value);
    let mut from = Reader::new(&bytes);
    assert_eq!(take(&mut from, &lives).as_ref(), Ok(value));
    assert_eq!(from.remaining(), 0);
    for len in 0..bytes.len() {
        assert!(take(&mut Reader::new(&bytes[..len]), &lives).is_err(), "cut to {len} of {}", bytes.len());
    }
}

/// What the decoders make of hostile bytes holds no more than the bytes can pay for.
fn assert_bounded(bytes: &[u8]) {
    let lives = lives_of(&[0, 1, 2].map(|at| Dot { node: node(at), epoch: Epoch(1), seq: 1 }));
    let reader = || Reader::new(bytes);
    let rows_of = |frontier: &Frontier| frontier.rows().map(|(_, _, set)| 2 + 2 * set.ranges().len()).sum();
    let paid: [usize; 7] = [
        LifeTable::take(&mut reader()).map_or(0, |table| 9 * table.lives().len()),
        codec::take_dot(&mut reader(), &lives).map_or(0, |_| 2),
        codec::take_version_vector(&mut reader(), &lives).map_or(0, |vv| 2 * vv.len()),
        codec::take_interval_set(&mut reader()).map_or(0, |set| 2 * set.ranges().len()),
        codec::take_frontier(&mut reader(), &lives).map_or(0, |frontier| rows_of(&frontier)),
        codec::take_floor(&mut reader(), &lives).map_or(0, |floor| 2 * floor.rows().count()),
        reader().bytes("bytes").map_or(0, <[u8]>::len),
    ];
    for paid in paid {
        assert!(paid <= bytes.len(), "{paid} bytes' worth out of {}", bytes.len());
    }
    for each in 0..20 {
        let mut from = reader();
        if let Ok(count) = from.count(each, "things") {
            assert!(count * each.max(1) <= from.remaining());
        }
    }
    // These read a fixed number of bytes at most.
    let mut from = reader();
    while from.varint("number").is_ok() {}
    let _ = (codec::take_life(&mut reader(), &lives), codec::take_hlc(&mut reader()));
    let _ = (codec::take_epoch(&mut reader()), reader().byte("byte"), reader().finish("end"));
}

proptest! {
    #[test]
    fn causal_values_survive_their_bytes(
        dot in any_dot(), dots in vec(any_dot(), 0..12), set in any_set(), frontier in any_frontier(),
        number: u64, bytes: Vec<u8>,
    ) {
        let life = (dot.node, dot.epoch);
        assert_round_trip(&life, |out, lives, life| codec::put_life(out, lives, life.0, life.1), codec::take_life);
        let table: LifeTable = lives_of(&dots);
        assert_round_trip(&table, |out, _, table| table.put(out), |from, _| LifeTable::take(from));
        assert_round_trip(&dot, |out, lives, dot| codec::put_dot(out, lives, *dot), codec::take_dot);
        let vv: VersionVector = dots.iter().copied().collect();
        assert_round_trip(&vv, codec::put_version_vector, codec::take_version_vector);
        assert_round_trip(&frontier, codec::put_frontier, codec::take_frontier);
        let mut floor = Floor::new();
        for &dot in &dots {
            floor.raise(dot);
        }
        assert_round_trip(&floor, codec::put_floor, codec::take_floor);
        assert_round_trip(&set, |out, _, set| codec::put_interval_set(out, set), |from, _| codec::take_interval_set(from));
        assert_round_trip(&Hlc(number), |out, _, hlc| codec::put_hlc(out, *hlc), |from, _| codec::take_hlc(from));
        assert_round_trip(&number, |out, _, number| codec::put_varint(out, *number), |from, _| from.varint("number"));
        assert_round_trip(
            &bytes, |out, _, bytes| codec::put_bytes(out, bytes), |from, _| from.bytes("bytes").map(<[u8]>::to_vec),
        );
    }

    #[test]
    fn a_number_has_one_form(bytes: [u8; 10]) {
        let mut from = Reader::new(&bytes);
        if let Ok(number) = from.varint("number") {
            let mut again = Vec::new();
            codec::put_varint(&mut again, number);
            prop_assert_eq!(&again[..], &bytes[..bytes.len() - from.remaining()]);
        }
    }

    #[test]
    fn hostile_bytes_are_refused_within_bounds(bytes in vec(prop_oneof![0..4u8, any::<u8>()], 0..200)) {
        assert_bounded(&bytes);
    }

    #[test]
    fn spoiled_bytes_are_refused_within_bounds(frontier in any_frontier(), at: Index, with: u8) {
        let mut bytes = Vec::new();
        codec::put_frontier(&mut bytes, &mut LifeTable::default(), &frontier);
        *at.get_mut(&mut bytes) = with;
        assert_bounded(&bytes);
    }

    #[test]
    fn a_token_is_met_by_what_it_names_and_no_less(
        frontier in any_frontier(), more in any_frontier(), at: Index, with in "[ -~]",
    ) {
        let text = Token::of(&frontier).to_string();
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        let token: Token = text.parse().unwrap();
        let mut further = frontier.clone();
        further.union_with(&more);
        prop_assert!(token.is_met_by(&frontier) && token.is_met_by(&further));
        prop_assert_eq!(token.is_met_by(&more), more.is_superset(&frontier));
        prop_assert_eq!(token.missing(&more), frontier.difference(&more));
        let at = at.index(text.len());
        let _ = text[..at].parse::<Token>();
        let _ = format!("{}{with}{}", &text[..at], &text[at + 1..]).parse::<Token>();
    }

    #[test]
    fn any_text_may_claim_to_be_a_token(text: String, letters in "[A-Za-z0-9_-]{0,80}") {
        let _ = text.parse::<Token>();
        let _ = format!("AQ{letters}").parse::<Token>();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Years of restarts, or a replica in the middle of its first catch-up: what the node gives, every node takes.
    #[test]
    fn a_token_is_never_too_long_to_be_accepted(
        epochs in 0..6_000usize, nodes in 1..40usize, gaps in 0..4_000u64, gappy in 0..40usize, missing: Index,
    ) {
        let mut applied = Frontier::new();
        for epoch in 0..epochs {
            let life = (node(epoch % nodes), Epoch((epoch as u64 + 1) << 40));
            applied.insert_row(life.0, life.1, &IntervalSet::range(1, epoch as u64 % 977 + 1));
        }
        for row in 0..gappy {
            let odd: IntervalSet = (0..=gaps).map(|gap| gap * 2 + 1).collect();
            applied.insert_row(node(row % nodes), Epoch(((epochs + row) as u64 + 1) << 40), &odd);
        }
        let text = Token::of(&applied).to_string();
        prop_assert!(text.len() <= token::TOKEN_BYTES_MAX, "{} bytes", text.len());
        let token: Token = text.parse().unwrap();
        prop_assert_eq!(&token, &Token::of(&applied));

        // Shortening may demand more, never less: whoever lacks a row does not meet it.
        let mut lacking = applied.clone();
        let rows: Vec<_> = applied.rows().collect();
        if !rows.is_empty() {
            let (node, epoch, set) = rows[missing.index(rows.len())];
            let gone: Frontier = [Dot { node, epoch, seq: set.last().unwrap() }].into_iter().collect();
            lacking.remove_all(&gone);
            prop_assert!(!token.is_met_by(&lacking));
        }
        // Whoever has every number meets it, however it was shortened, as long as the oldest rows are the same.
        if gappy == 0 {
            prop_assert!(token.is_met_by(&applied));
            let mut further = applied.clone();
            further.insert_row(node(0), Epoch(u64::MAX), &IntervalSet::range(1, 9));
            prop_assert!(token.is_met_by(&further));
        }
    }
}

#[test]
fn a_count_that_lies_is_refused_before_anything_is_allocated() {
    let lives = lives_of(&[Dot { node: node(0), epoch: Epoch(1), seq: 1 }]);
    for lie in [u64::MAX, 1 << 60, 1 << 32, 1 << 20] {
        let mut bytes = Vec::new();
        codec::put_varint(&mut bytes, lie);
        bytes.extend([0; 64]);
        assert!(codec::take_version_vector(&mut Reader::new(&bytes), &lives).is_err());
        assert!(codec::take_interval_set(&mut Reader::new(&bytes)).is_err());
        assert!(codec::take_frontier(&mut Reader::new(&bytes), &lives).is_err());
        assert!(codec::take_floor(&mut Reader::new(&bytes), &lives).is_err());
        assert!(Reader::new(&bytes).bytes("bytes").is_err());
    }
    assert!("A".repeat(token::TOKEN_BYTES_MAX + 1).parse::<Token>().is_err());
}

// Names and clocks.

proptest! {
    #[test]
    fn names_survive_their_text(dot in any_dot()) {
        prop_assert_eq!(dot.node.to_string().parse(), Ok(dot.node));
        prop_assert_eq!(dot.to_string().parse(), Ok(dot));
    }

    #[test]
    fn a_name_has_one_text(dot in any_dot(), at: Index, with in "[0-9a-fA-F+. -]", text: String) {
        let mut spoiled = dot.to_string();
        let at = at.index(spoiled.len());
        spoiled.replace_range(at..=at, &with);
        for text in [spoiled, text] {
            if let Ok(read) = text.parse::<Dot>() {
                prop_assert_eq!(read.to_string(), text);
            } else if let Ok(read) = text.parse::<NodeId>() {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }

    #[test]
    fn stamps_increase_under_any_wall_clock(
        last in 0..u64::MAX >> 1,
        events in vec((any::<u64>(), proptest::option::of(0..u64::MAX >> 1)), 1..200),
    ) {
        let mut clock = HlcClock::resume(Hlc(last));
        for (unix_ms, observed) in events {
            let before = clock.last();
            if let Some(stamp) = observed {
                clock.observe(Hlc(stamp));
                prop_assert!(clock.last() >= before && clock.last() >= Hlc(stamp));
            }
            let before = clock.last();
            let stamp = clock.tick(unix_ms);
            prop_assert!(stamp > before && stamp >= Hlc::of_wall(unix_ms));
            prop_assert_eq!(clock.last(), stamp);
        }
    }

    #[test]
    fn an_epoch_is_new_whatever_the_clock_says(last: u64, unix_ms in 0..1u64 << 48, randoms: [u16; 2]) {
        let last = Epoch(last >> 1);
        let [one, other] = randoms.map(|random| Epoch::after(last, unix_ms, random));
        prop_assert!(one > last && other > last);
        // Two copies of one directory start from the same last epoch, perhaps both with a clock that is behind.
        prop_assert_eq!(one == other, randoms[0] == randoms[1]);
    }

    #[test]
    fn ordinals_keep_the_order_of_a_node(
        start_ms in 1_600_000_000_000..3_700_000_000_000u64, randoms: [u16; 2], later_ms in 0..1_000_000u64,
        seqs in [1..1u64 << 32, 1..1u64 << 32],
    ) {
        let dot = |ms: u64, random: u16, seq| Dot { node: node(0), epoch: Epoch(ms << 16 | u64::from(random)), seq };
        // A life of n milliseconds mints fewer than 4,096 n writes.
        let first = dot(start_ms, randoms[0], seqs[0] % (4_096 * later_ms).max(1));
        let second = dot(start_ms + later_ms, randoms[1], seqs[1]);
        if later_ms > 0 {
            prop_assert!(first < second && first.ordinal() < second.ordinal());
        } else {
            let next = Dot { seq: second.seq + 1, ..second };
            prop_assert!(second.ordinal() < next.ordinal());
        }
    }

    #[test]
    fn ordinals_fit_a_json_number(dot in any_dot()) {
        prop_assert!(dot.ordinal() < 1 << 53);
    }
}
