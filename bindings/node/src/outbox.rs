//! Messages for the event loop.
//!
//! One call wakes the loop for everything that has gathered by then; it takes the messages as one JSON text. Answers to
//! operations are as many as the caller asked for. Producers without such an end (scans, subscriptions) wait for room.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use napi::Status;
use napi::bindgen_prelude::Unknown;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use tokio::sync::Notify;

use crate::config::{DRAIN_BYTES_MAX, OUTBOX_BYTES_MAX};

/// Wakes the event loop. As long as it is held, the process does not end by itself.
pub(crate) type Wake = ThreadsafeFunction<(), Unknown<'static>, (), Status, false, false, 0>;

pub(crate) struct Outbox {
    state: Mutex<State>,
    room: Notify,
}

struct State {
    /// Calls of resolvers: a thread of the engine waits for each.
    urgent: Vec<String>,
    messages: VecDeque<String>,
    bytes: usize,
    /// The event loop has been woken and has not taken everything yet.
    woken: bool,
    /// Nobody waits for room any more: the server closes.
    closing: bool,
    /// Nothing more will come.
    over: bool,
    wake: Option<Wake>,
}

impl Outbox {
    pub(crate) fn new(wake: Wake) -> Outbox {
        let state = State {
            urgent: Vec::new(),
            messages: VecDeque::new(),
            bytes: 0,
            woken: false,
            closing: false,
            over: false,
            wake: Some(wake),
        };
        Outbox { state: Mutex::new(state), room: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a message: one JSON text.
    pub(crate) fn push(&self, message: String) {
        let mut state = self.state();
        state.bytes += message.len();
        state.messages.push_back(message);
        state.wake_up();
    }

    /// Leaves a message that goes before all others.
    pub(crate) fn push_urgent(&self, message: String) {
        let mut state = self.state();
        state.urgent.push(message);
        state.wake_up();
    }

    /// Waits until not much waits for the event loop, or the server closes.
    pub(crate) async fn has_room(&self) {
        loop {
            let made = self.room.notified();
            if self.state().has_room() {
                return;
            }
            made.await;
        }
    }

    /// Lets go whoever waits for room: an event loop that has ended makes none.
    pub(crate) fn close(&self) {
        self.state().closing = true;
        self.room.notify_waiters();
    }

    /// The last message: once it is taken, the event loop is let go.
    pub(crate) fn finish(&self, message: String) {
        let mut state = self.state();
        state.bytes += message.len();
        state.messages.push_back(message);
        state.over = true;
        state.wake_up();
    }

    /// What waits, as one JSON array; nothing when there is nothing. Wakes the loop again when there is more.
    pub(crate) fn drain(&self) -> Option<String> {
        let mut state = self.state();
        let state = &mut *state;
        let mut text = String::with_capacity(state.bytes.min(DRAIN_BYTES_MAX) + 256);
        for message in state.urgent.drain(..) {
            text.push(if text.is_empty() { '[' } else { ',' });
            text.push_str(&message);
        }
        while let Some(message) = state.messages.front() {
            if !text.is_empty() && text.len() + message.len() > DRAIN_BYTES_MAX {
                break;
            }
            text.push(if text.is_empty() { '[' } else { ',' });
            text.push_str(message);
            state.bytes -= message.len();
            state.messages.pop_front();
        }
        state.woken = false;
        if !state.messages.is_empty() {
            state.wake_up();
        } else if state.over {
            state.wake = None;
        }
        if state.has_room() {
            self.room.notify_waiters();
        }
        (!text.is_empty()).then(|| text + "]")
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.bytes < OUTBOX_BYTES_MAX || self.closing
    }

    fn wake_up(&mut self) {
        if self.woken {
            return;
        }
        if let Some(wake) = &self.wake {
            self.woken = true;
            // A loop that is ending takes no calls, and nobody is left to be told.
            wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}
