//! Packed frames: what goes in comes out, and what a peer makes up is refused within bounds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use proptest::prelude::*;
use rejoin_replica::packing::{pack, unpack};

/// A frame of many documents that look alike.
fn alike(count: usize) -> Vec<u8> {
    let mut frame = vec![8];
    for number in 0..count {
        frame.extend_from_slice(format!("users/{number:08} {{\"name\":\"user {number}\"}}").as_bytes());
    }
    frame
}

#[test]
fn documents_that_look_alike_become_fewer_bytes() {
    let frame = alike(1_000);
    let packed = pack(frame.clone());
    assert!(packed.len() < frame.len() / 2, "{} bytes of {}", packed.len(), frame.len());
    assert_eq!(unpack(&packed).unwrap(), frame);
}

#[test]
fn small_frames_and_frames_without_pattern_stay_as_they_are() {
    let small = alike(5);
    assert_eq!(pack(small.clone()), small);
    let mut noise = vec![8];
    let mut state = 1_u64;
    noise.extend((0..4096).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    }));
    assert_eq!(pack(noise.clone()), noise);
    assert_eq!(unpack(&noise).unwrap(), noise);
}

#[test]
fn one_byte_stands_for_a_bounded_number_of_bytes() {
    // A value of one letter packs to next to nothing: it goes out as it is rather than beyond what is taken.
    let frame = vec![b'a'; 1 << 20];
    let packed = pack(frame.clone());
    assert_eq!(unpack(&packed).unwrap(), frame);
    let block = lz4_flex::block::compress(&frame);
    let mut bomb = vec![64];
    rejoin_causal::codec::put_varint(&mut bomb, frame.len() as u64);
    bomb.extend_from_slice(&block);
    assert!(unpack(&bomb).is_err());
}

#[test]
fn a_length_that_lies_is_refused() {
    let packed = pack(alike(1_000));
    let mut from = rejoin_causal::codec::Reader::new(&packed[1..]);
    let length = from.varint("length").unwrap();
    let block = from.take(from.remaining(), "block").unwrap();
    for lie in [0, length - 1, length + 1, u64::from(u32::MAX), u64::MAX] {
        let mut lying = vec![64];
        rejoin_causal::codec::put_varint(&mut lying, lie);
        lying.extend_from_slice(block);
        assert!(unpack(&lying).is_err(), "{lie} instead of {length}");
    }
}

proptest! {
    #[test]
    fn whatever_goes_in_comes_out(frame in prop::collection::vec(0_u8..64, 0..5_000)) {
        let packed = pack(frame.clone());
        prop_assert!(packed.len() <= frame.len());
        let unpacked = unpack(&packed).unwrap();
        prop_assert_eq!(&*unpacked, &*frame);
    }

    #[test]
    fn anything_is_taken_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 1..2_000)) {
        bytes[0] = 64;
        if let Ok(unpacked) = unpack(&bytes) {
            prop_assert!(unpacked.len() <= bytes.len() * 32);
        }
    }
}
