//! Frames pass whole, in order, both ways; the links end with a reason.

use bytes::Bytes;
use rejoin_link::{CloseReason, ClosedBy, Limits, LinkError};

use crate::rig::{frame, linked, meet, meet_with, next, node, send, soon};

#[tokio::test]
async fn both_ends_know_who_the_other_is() {
    let (dialed, accepted) = meet(&node(1), &node(2)).await;
    let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
    assert!(dialed.dialed() && !accepted.dialed());
    assert_eq!(dialed.peer().id, node(2).key.id());
    assert_eq!(dialed.peer().key, node(2).key.public());
    assert_eq!((dialed.peer().epoch, dialed.peer().name.as_str()), (2000, "node-2"));
    assert_eq!(accepted.peer().id, node(1).key.id());
    assert_eq!((accepted.peer().policy, accepted.peer().version), ([1; 16], 2));
}

#[tokio::test]
async fn frames_pass_both_ways_in_order() {
    let (one, two) = linked(&Limits::default()).await;
    let ((one_out, mut one_in), (two_out, mut two_in)) = (one.split(), two.split());
    let numbered = |i: u32| Bytes::copy_from_slice(&i.to_be_bytes());
    let sending_one = async {
        for i in 0..2000 {
            send(&one_out, &numbered(i)).await;
        }
    };
    let sending_two = async {
        for i in 0..2000 {
            send(&two_out, &numbered(i + 5000)).await;
        }
    };
    let reading_one = async {
        for i in 0..2000 {
            assert_eq!(next(&mut one_in).await, numbered(i + 5000));
        }
    };
    let reading_two = async {
        for i in 0..2000 {
            assert_eq!(next(&mut two_in).await, numbered(i));
        }
    };
    tokio::join!(sending_one, sending_two, reading_one, reading_two);
}

#[tokio::test]
async fn frames_of_every_length_pass() {
    let (one, two) = linked(&Limits::default()).await;
    let ((one_out, mut one_in), (two_out, mut two_in)) = (one.split(), two.split());
    let fragment = rejoin_link::config::FRAGMENT_BYTES;
    for length in [0, 1, 125, 126, 65_535, fragment, fragment + 1, 3 * fragment, 2_000_000, 0] {
        let (there, back) = (frame(length, 1), frame(length, 2));
        let (_, _, got_there, got_back) =
            tokio::join!(send(&one_out, &there), send(&two_out, &back), next(&mut two_in), next(&mut one_in));
        assert!(got_there == there && got_back == back, "length {length}");
    }
    assert!(one_out.stats().bytes_out() > 2_000_000 && one_out.stats().bytes_in() > 2_000_000);
    // The longest frame of all.
    let longest = frame(rejoin_link::config::FRAME_BYTES_MAX, 3);
    let ((), got) = tokio::join!(send(&one_out, &longest), next(&mut two_in));
    assert!(got == longest);
}

#[tokio::test]
async fn an_idle_link_costs_few_bytes() {
    let (one, _two) = linked(&Limits::default()).await;
    assert!(one.stats().bytes_in() + one.stats().bytes_out() < 1200, "{:?}", one.stats());
}

#[tokio::test]
async fn a_close_gives_its_reason_after_the_frames_before_it() {
    let (one, two) = linked(&Limits::default()).await;
    let ((one_out, mut one_in), (two_out, mut two_in)) = (one.split(), two.split());
    for i in 0..10 {
        send(&one_out, &frame(1000, i)).await;
    }
    soon(one_out.close("a better link exists")).await;
    for i in 0..10 {
        assert_eq!(next(&mut two_in).await, frame(1000, i));
    }
    assert_eq!(soon(two_in.recv()).await.unwrap(), None);
    let reason = "a better link exists".to_owned();
    assert_eq!(two_in.close_reason(), Some(CloseReason { by: ClosedBy::Peer, reason: reason.clone() }));
    assert_eq!(soon(one_in.recv()).await.unwrap(), None);
    assert_eq!(one_in.close_reason(), Some(CloseReason { by: ClosedBy::Us, reason }));
    // It stays ended, and sending says so too.
    assert_eq!(two_in.recv().await.unwrap(), None);
    let error = two_out.send(Bytes::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "the link is closed (closed by the peer: a better link exists)");
}

#[tokio::test]
async fn dropping_a_half_closes_the_link() {
    let (one, two) = linked(&Limits::default()).await;
    let (_one_out, one_in) = one.split();
    let (_two_out, mut two_in) = two.split();
    drop(one_in);
    assert_eq!(soon(two_in.recv()).await.unwrap(), None);
    assert_eq!(two_in.close_reason().unwrap().reason, "the receiver was dropped");

    let (one, two) = linked(&Limits::default()).await;
    let (one_out, _one_in) = one.split();
    let (_two_out, mut two_in) = two.split();
    drop(one_out);
    assert_eq!(soon(two_in.recv()).await.unwrap(), None);
    assert_eq!(two_in.close_reason().unwrap().reason, "the sender was dropped");
}

#[tokio::test]
async fn both_may_close_at_once() {
    let (one, two) = linked(&Limits::default()).await;
    soon(async { tokio::join!(one.close("enough"), two.close("enough")) }).await;
}

#[tokio::test]
async fn an_oversized_frame_closes_the_link_with_a_reason() {
    for excess in [1, 1 << 20] {
        let small = Limits { frame_bytes_max: 100_000, ..Limits::default() };
        let (one, two) = meet_with(&node(1), &Limits::default(), &node(2), &small, |addr| addr).await;
        let ((one_out, mut one_in), (_two_out, mut two_in)) = (one.unwrap().split(), two.unwrap().split());
        send(&one_out, &frame(100_000, 1)).await;
        assert_eq!(next(&mut two_in).await.len(), 100_000);
        // The send may end either way, as the frame may be in the socket before the other end has looked at it.
        let _ = soon(one_out.send(frame(100_000 + excess, 2))).await;
        let error = soon(two_in.recv()).await.unwrap_err();
        assert!(matches!(error, LinkError::FrameTooLong { bytes_max: 100_000 }), "{error}");
        assert_eq!(soon(one_in.recv()).await.unwrap(), None);
        let reason = one_in.close_reason().unwrap().to_string();
        assert!(reason.contains("longer than the limit of 100000 bytes"), "{reason}");
    }
}

#[tokio::test]
async fn an_oversized_frame_of_ours_is_not_sent_and_changes_nothing() {
    let (one, two) = linked(&Limits { frame_bytes_max: 10, ..Limits::default() }).await;
    let ((one_out, _one_in), (_two_out, mut two_in)) = (one.split(), two.split());
    let error = one_out.send(frame(11, 1)).await.unwrap_err();
    assert!(matches!(error, LinkError::SendTooLong { bytes: 11, bytes_max: 10 }), "{error}");
    send(&one_out, &frame(10, 2)).await;
    assert_eq!(next(&mut two_in).await, frame(10, 2));
}
