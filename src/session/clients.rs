//! Who hears a session: a mailbox a client.
//!
//! ```text
//!  session --tell(client)------> mailbox --> Client      what that client asked for
//!          --tell_all----------> every mailbox           Ready, Notice, Fatal
//! ```
//!
//! Invariants: an event goes to the mailbox of one client, or to all; nobody takes another's. A
//! client that joins late hears at once what it missed of the setup, of readiness or failure. When
//! the session ends, all mailboxes close.

use super::event::{Event, Notice, RequestEvent};
use super::request::RequestId;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names a client within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// The owner of the session, which started it and has no mailbox.
    pub(super) const OWNER: Self = Self(0);
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Clients {
    hall: Mutex<Hall>,
    requests: AtomicU64,
}

#[derive(Debug, Default)]
struct Hall {
    joined: u64,
    mailboxes: Vec<(ClientId, Sender<Event>)>,
    /// Events that concern clients that join later as well, in order.
    lasting: Vec<Event>,
    ended: bool,
}

impl Clients {
    /// A new client, and what it hears from now on.
    pub(super) fn join(&self) -> (ClientId, Receiver<Event>) {
        let mut hall = self.hall();
        hall.joined += 1;
        let client = ClientId(hall.joined);
        let (mailbox, events) = unbounded();
        for event in &hall.lasting {
            // The receiver is still held here, so this cannot fail.
            let _ = mailbox.send(event.clone());
        }
        if !hall.ended {
            hall.mailboxes.push((client, mailbox));
        }
        (client, events)
    }

    pub(super) fn leave(&self, client: ClientId) {
        self.hall().mailboxes.retain(|(id, _)| *id != client);
    }

    /// An id that no request of the session has.
    pub fn next_request(&self) -> RequestId {
        RequestId(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells what became of a request. False: its client has left, and wants no more of it.
    pub fn tell(&self, client: ClientId, id: RequestId, event: RequestEvent) -> bool {
        let hall = self.hall();
        let mailbox = hall.mailboxes.iter().find(|(id, _)| *id == client);
        mailbox.is_some_and(|(_, mailbox)| mailbox.send(Event::Request(id, event)).is_ok())
    }

    /// Tells all clients what concerns the session and no single request.
    pub fn tell_all(&self, event: Event) {
        let mut hall = self.hall();
        for (_, mailbox) in &hall.mailboxes {
            // Who has left hears nothing.
            let _ = mailbox.send(event.clone());
        }
        match event {
            Event::Ready | Event::Fatal(_) | Event::Notice(Notice::Setup(_)) => {
                hall.lasting.push(event);
            }
            Event::Notice(_) | Event::Request(..) => {}
        }
    }

    /// Closes all mailboxes.
    pub(super) fn end(&self) {
        let mut hall = self.hall();
        hall.ended = true;
        hall.mailboxes.clear();
    }

    fn hall(&self) -> MutexGuard<'_, Hall> {
        // Every assignment leaves it consistent: a panic elsewhere has broken nothing.
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::OpenError;
    use crate::session::SessionError;
    use std::io;
    use std::sync::Arc;

    #[test]
    fn a_client_hears_of_its_own_requests_and_of_what_concerns_all() {
        let clients = Clients::default();
        let ((a, hears_a), (_, hears_b)) = (clients.join(), clients.join());
        let (first, second) = (clients.next_request(), clients.next_request());
        assert_ne!(first, second);
        assert!(clients.tell(a, second, RequestEvent::Text("hi".into())));
        clients.tell_all(Event::Notice(Notice::EmptyPrompt));
        let heard: Vec<_> = hears_a.try_iter().collect();
        assert!(
            matches!(&heard[..], [Event::Request(id, RequestEvent::Text(text)), Event::Notice(_)]
                if *id == second && text == "hi")
        );
        let heard: Vec<_> = hears_b.try_iter().collect();
        assert!(matches!(heard[..], [Event::Notice(_)]), "{heard:?}");
    }

    #[test]
    fn who_joins_late_hears_what_still_holds() {
        let clients = Clients::default();
        clients.tell_all(Event::Notice(Notice::Setup("no draft".into())));
        clients.tell_all(Event::Ready);
        clients.tell_all(Event::Notice(Notice::EmptyPrompt));
        let (_, hears) = clients.join();
        let heard: Vec<_> = hears.try_iter().collect();
        assert!(
            matches!(heard[..], [Event::Notice(Notice::Setup(_)), Event::Ready]),
            "{heard:?}"
        );
        let failed = Clients::default();
        let no_model = SessionError::Load(OpenError::Io(io::Error::other("no model")).into());
        failed.tell_all(Event::Fatal(Arc::new(no_model)));
        failed.end();
        // Their channel closes after that.
        let heard: Vec<_> = failed.join().1.iter().collect();
        assert!(matches!(heard[..], [Event::Fatal(_)]), "{heard:?}");
    }

    #[test]
    fn nobody_waits_for_a_request_of_a_client_that_left() {
        let clients = Clients::default();
        let (a, hears) = clients.join();
        let id = clients.next_request();
        clients.leave(a);
        assert!(!clients.tell(a, id, RequestEvent::Text("hi".into())));
        assert!(hears.recv().is_err());
    }
}
