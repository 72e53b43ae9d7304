//! Dead peers are noticed, slow ones are borne, and neither direction holds up the other.

use std::time::{Duration, Instant};

use rejoin_link::{Limits, LinkError};
use tokio::time::timeout;

use crate::rig::{Wire, frame, linked, meet_with, next, node, send, soon};

const BEAT: Duration = Duration::from_millis(100);

fn quick() -> Limits {
    Limits { heartbeat: BEAT, linger: Duration::from_millis(50), ..Limits::default() }
}

#[tokio::test]
async fn a_dead_peer_is_noticed_in_three_heartbeats() {
    let wire = Wire::new();
    let (one, two) = meet_with(&node(1), &quick(), &node(2), &quick(), |addr| wire.to(addr)).await;
    let ((one_out, mut one_in), (_two_out, mut two_in)) = (one.unwrap().split(), two.unwrap().split());
    send(&one_out, &frame(10, 1)).await;
    assert_eq!(next(&mut two_in).await, frame(10, 1));
    wire.freeze();
    let frozen = Instant::now();
    let (one_end, two_end) = soon(async { tokio::join!(one_in.recv(), two_in.recv()) }).await;
    let noticed = frozen.elapsed();
    for end in [one_end, two_end] {
        let error = end.unwrap_err();
        assert!(matches!(error, LinkError::Silent(silence) if silence == 3 * BEAT), "{error}");
    }
    // The last byte was heard up to one beat before the freeze; above, leave room for a busy machine.
    assert!(noticed >= BEAT && noticed < 3 * BEAT + Duration::from_secs(2), "{noticed:?}");
    assert!(matches!(soon(one_out.send(frame(1, 1))).await, Err(LinkError::Silent(_))));
}

#[tokio::test]
async fn an_idle_link_stays_alive_and_measures_itself() {
    let (one, two) = linked(&quick()).await;
    let (stats, (_one_out, mut one_in)) = (one.stats(), one.split());
    // Nobody sends anything for many times the silence allowed.
    assert!(timeout(10 * BEAT, one_in.recv()).await.is_err());
    let rtt = stats.rtt().unwrap();
    assert!(rtt < Duration::from_secs(1), "{rtt:?}");
    let (two_out, _two_in) = two.split();
    send(&two_out, &frame(3, 7)).await;
    assert_eq!(next(&mut one_in).await, frame(3, 7));
}

#[tokio::test]
async fn an_owner_that_does_not_read_holds_the_peer_up_and_loses_nothing() {
    let limits = Limits { frame_bytes_max: 1 << 20, ..quick() };
    let (one, two) = linked(&limits).await;
    let ((one_out, mut one_in), (two_out, mut two_in)) = (one.split(), two.split());
    let sending = tokio::spawn(async move {
        for i in 0..40 {
            send(&one_out, &frame(1 << 20, i)).await;
        }
        one_out
    });
    // Node 2 takes nothing for longer than a silence, and node 1's write is blocked; its reading goes on.
    tokio::pin!(sending);
    assert!(timeout(8 * BEAT, &mut sending).await.is_err(), "40 MiB fitted into the queues");
    send(&two_out, &frame(100, 99)).await;
    assert_eq!(next(&mut one_in).await, frame(100, 99));
    for i in 0..40 {
        assert_eq!(next(&mut two_in).await, frame(1 << 20, i));
    }
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn a_slow_link_is_not_a_dead_one() {
    let wire = Wire::slow(Duration::from_millis(10));
    let (one, two) = meet_with(&node(1), &quick(), &node(2), &quick(), |addr| wire.to(addr)).await;
    let ((one_out, mut one_in), (two_out, mut two_in)) = (one.unwrap().split(), two.unwrap().split());
    let (there, back) = (frame(2 << 20, 1), frame(2 << 20, 2));
    let began = Instant::now();
    let (_, _, got_there, got_back) =
        tokio::join!(send(&one_out, &there), send(&two_out, &back), next(&mut two_in), next(&mut one_in));
    assert!(got_there == there && got_back == back);
    assert!(began.elapsed() > 6 * BEAT, "not slow: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_write_that_gets_nowhere_ends_the_link() {
    let wire = Wire::new();
    let limits =
        Limits { write_timeout: Duration::from_millis(150), frame_bytes_max: 64 << 20, ..Limits::default() };
    let (one, two) = meet_with(&node(1), &limits, &node(2), &limits, |addr| wire.to(addr)).await;
    let ((one_out, mut one_in), _two) = (one.unwrap().split(), two.unwrap());
    wire.freeze();
    let error = soon(one_out.send(frame(60 << 20, 1))).await.unwrap_err();
    assert!(matches!(error, LinkError::WriteStalled(_)), "{error}");
    assert!(matches!(soon(one_in.recv()).await, Err(LinkError::WriteStalled(_))));
}

#[tokio::test]
async fn a_close_does_not_wait_for_a_blocked_write() {
    let (one, two) = linked(&quick()).await;
    let ((one_out, _one_in), _two) = (one.split(), two);
    let sending = tokio::spawn({
        let one_out = one_out.clone();
        async move {
            loop {
                one_out.send(frame(1 << 20, 1)).await?;
            }
        }
    });
    // Wait until the write is stuck: bytes have gone out, and no more do.
    let mut before = 0;
    while before == 0 || one_out.stats().bytes_out() > before {
        before = one_out.stats().bytes_out();
        assert!(timeout(2 * BEAT, std::future::pending::<()>()).await.is_err());
    }
    soon(one_out.close("out of patience")).await;
    let sent: Result<(), LinkError> = soon(sending).await.unwrap();
    assert!(matches!(sent, Err(LinkError::Closed(_))), "{sent:?}");
}
