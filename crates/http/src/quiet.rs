//! A task that wakes itself up while it runs, without the scheduler hearing of it.
//!
//! hyper hands a request's body over inside one task, and wakes that task up while it is running. The scheduler answers by
//! putting the task into its queue once more and waking another worker up to look for work: for a lone request with a
//! body that costs more than the request. Here such a wake-up means that the future is polled again at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls in a row, at most: then it is others' turn.
const POLLS_MAX: usize = 4;

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const WOKEN_WHILE_RUNNING: u8 = 2;

/// The future, polled by one task for as long as it lives.
#[derive(Debug)]
pub(crate) struct Quiet<F> {
    inner: Pin<Box<F>>,
    /// The waker given to the future, and the task's own, to which it belongs.
    waker: Option<(Waker, Arc<Alarm>)>,
}

impl<F: Future> Quiet<F> {
    pub(crate) fn new(inner: F) -> Quiet<F> {
        Quiet { inner: Box::pin(inner), waker: None }
    }

    pub(crate) fn inner(&mut self) -> Pin<&mut F> {
        self.inner.as_mut()
    }
}

impl<F: Future> Future for Quiet<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let known = this.waker.take().filter(|(_, alarm)| alarm.task.will_wake(context.waker()));
        let (waker, alarm) = this.waker.insert(known.unwrap_or_else(|| {
            let alarm = Arc::new(Alarm { state: AtomicU8::new(WAITING), task: context.waker().clone() });
            (Waker::from(Arc::clone(&alarm)), alarm)
        }));
        let mut inner = Context::from_waker(waker);
        for _ in 0..POLLS_MAX {
            alarm.state.store(RUNNING, Ordering::SeqCst);
            if let Poll::Ready(output) = this.inner.as_mut().poll(&mut inner) {
                return Poll::Ready(output);
            }
            let quiet = alarm.state.compare_exchange(RUNNING, WAITING, Ordering::SeqCst, Ordering::SeqCst);
            if quiet.is_ok() {
                return Poll::Pending;
            }
        }
        alarm.state.store(WAITING, Ordering::SeqCst);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[derive(Debug)]
struct Alarm {
    state: AtomicU8,
    task: Waker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let running =
            self.state.compare_exchange(RUNNING, WOKEN_WHILE_RUNNING, Ordering::SeqCst, Ordering::SeqCst);
        if running == Err(WAITING) {
            self.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts the wake-ups that reach the scheduler.
    #[derive(Default)]
    struct Scheduler(AtomicUsize);

    impl Wake for Scheduler {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll_once<F: Future>(quiet: &mut Quiet<F>, scheduler: &Arc<Scheduler>) -> Poll<F::Output> {
        Pin::new(quiet).poll(&mut Context::from_waker(&Waker::from(Arc::clone(scheduler))))
    }

    #[test]
    fn a_future_that_wakes_itself_up_goes_on_at_once() {
        let scheduler = Arc::new(Scheduler::default());
        let mut polls = 0;
        let mut quiet = Quiet::new(poll_fn(move |context| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(polls);
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        assert_eq!(poll_once(&mut quiet, &scheduler), Poll::Ready(3));
        assert_eq!(scheduler.0.load(Ordering::SeqCst), 0, "the scheduler heard nothing");
    }

    #[test]
    fn a_future_that_never_rests_lets_others_have_their_turn() {
        let scheduler = Arc::new(Scheduler::default());
        let mut quiet: Quiet<_> = Quiet::new(poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        assert!(poll_once(&mut quiet, &scheduler).is_pending());
        assert_eq!(scheduler.0.load(Ordering::SeqCst), 1, "it asks for another turn");
    }

    #[test]
    fn a_wake_up_from_elsewhere_reaches_the_scheduler() {
        let scheduler = Arc::new(Scheduler::default());
        let (ring, mut rung) = tokio::sync::oneshot::channel();
        let mut quiet = Quiet::new(poll_fn(move |context| Pin::new(&mut rung).poll(context)));
        assert!(poll_once(&mut quiet, &scheduler).is_pending());
        assert!(ring.send(5).is_ok());
        assert_eq!(scheduler.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll_once(&mut quiet, &scheduler), Poll::Ready(Ok(5)));
    }
}
