//! A program that reads slowly gets every byte, once, though its route looks stalled meanwhile.

use std::time::Duration;

use busel_node::config::Exposure;
use bytes::Bytes;
use http_body_util::BodyExt;

use crate::support::origin::page;
use crate::support::{World, get};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_pauses_longer_than_a_stall_loses_nothing() {
    let world = World::start().await;
    let whole: Bytes = (0..4_000_000u32).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    let served = whole.clone();
    world.origin.answer(move |_| page(served.clone()));
    let reader = world.reader(Exposure::Quiet).await;
    let mut body = get(&reader, "/film").await.unwrap().body;
    let mut got = Vec::new();
    for pause in 0.. {
        let Some(frame) = body.frame().await else { break };
        got.extend_from_slice(&frame.unwrap().into_data().unwrap());
        if pause == 2 || pause == 9 {
            // Longer than the shortest time after which a body counts as stalled.
            tokio::time::sleep(Duration::from_millis(2500)).await;
        }
    }
    assert_eq!(got.len(), whole.len());
    assert!(got == whole, "the bytes are the site's");
    reader.stop().await;
}
