//! A future that is polled by whoever wakes it, on the spot: for what is left to do when an answer is there, if that is
//! less work than waking a thread for it.
//!
//! Owns nothing but that. Invariants: it is polled by one thread at a time; a wake is never lost; its panic ends it, and not
//! the thread that woke it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Polled where it is woken.
pub(crate) struct Brief {
    /// None once it is done.
    task: Mutex<Option<Task>>,
    woken: AtomicBool,
}

impl Brief {
    /// Polls it once now, and from then on whenever it is woken.
    pub(crate) fn start(task: Task) {
        Arc::new(Self { task: Mutex::new(Some(task)), woken: AtomicBool::new(false) }).wake();
    }

    fn is_woken(&self) -> bool {
        fence(Ordering::SeqCst);
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for Brief {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self));
        // Who cannot have the lock leaves it to who has it, and who lets it go looks whether somebody did; the fence, so that
        // one of the two sees the other.
        while self.is_woken()
            && let Some(mut slot) = self.task.try_lock()
        {
            self.woken.store(false, Ordering::SeqCst);
            let Some(task) = slot.as_mut() else { return };
            let mut context = Context::from_waker(&waker);
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut context)));
            if polled.map_or(true, |polled| polled.is_ready()) {
                *slot = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use tokio::sync::{mpsc, oneshot};
    use tokio::task::yield_now;

    use super::*;

    #[test]
    fn it_goes_on_where_it_is_woken() {
        let (send, sent) = oneshot::channel();
        let (done, ended) = std::sync::mpsc::channel();
        Brief::start(Box::pin(async move {
            sent.await.expect("it is sent");
            done.send(thread::current().id()).expect("somebody listens");
        }));
        assert!(ended.try_recv().is_err());
        let waker = thread::spawn(move || {
            send.send(()).expect("it is waited for");
            thread::current().id()
        });
        assert_eq!(ended.recv(), Ok(waker.join().expect("no panic")));
    }

    #[test]
    fn no_wake_is_lost_whoever_wakes_it_meanwhile() {
        let seen = Arc::new(AtomicUsize::new(0));
        let (send, mut sent) = mpsc::unbounded_channel();
        let count = Arc::clone(&seen);
        let (done, ended) = std::sync::mpsc::channel();
        Brief::start(Box::pin(async move {
            while sent.recv().await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
                // Wakes itself while it is polled.
                yield_now().await;
            }
            done.send(()).expect("somebody listens");
        }));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let send = send.clone();
                thread::spawn(move || (0..1000).for_each(|n| send.send(n).expect("it is received")))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        drop(send);
        ended.recv().expect("it comes to its end");
        assert_eq!(seen.load(Ordering::SeqCst), 4000);
    }

    #[test]
    fn its_panic_does_not_reach_who_wakes_it() {
        let (send, sent) = oneshot::channel::<()>();
        Brief::start(Box::pin(async move {
            sent.await.expect("it is sent");
            panic!("on purpose");
        }));
        send.send(()).expect("it is waited for");
    }
}
