//! What is bound now, and what a new configuration needs bound.
//!
//! Path: [`super::start`] and [`super::reload`] make a [`Plan`] (which may fail and then changes nothing), publish the
//! snapshot, and [`Listeners::apply`] the plan (which cannot fail).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::Shared;
use crate::admin::server::{AdminServer, AdminSocket, Role};
use crate::config::diagnostics::Diagnostic;
use crate::config::model::{self, Located};
use crate::downstream::listener::{Acceptor, Port, Socket};
use crate::snapshot::{ListenerId, Snapshot};
use crate::units::place::{FileRules, Place};

/// Everything that is bound.
#[derive(Debug, Default)]
pub struct Listeners {
    bound: Vec<Bound>,
    probes: Option<AdminServer>,
    control: Option<AdminServer>,
}

#[derive(Debug)]
struct Bound {
    id: ListenerId,
    name: Arc<str>,
    /// What the file says; port 0 stays 0 here.
    configured: Place,
    rules: FileRules,
    reuse_port: bool,
    acceptor: Acceptor,
}

/// What a configuration needs beyond what is bound. Dropping it unbinds what it bound.
#[derive(Debug)]
pub struct Plan {
    listeners: Vec<Step>,
    probes: AdminStep,
    control: AdminStep,
}

#[derive(Debug)]
enum Step {
    Keep(ListenerId),
    Open(Bound),
}

#[derive(Debug)]
enum AdminStep {
    Keep,
    Close,
    Open(AdminSocket),
}

impl Listeners {
    /// Where the listener of this name is bound, if it is an IP address.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.bound
            .iter()
            .find(|bound| *bound.name == *name)
            .and_then(|bound| bound.acceptor.socket().address().socket())
    }

    /// Where probes are served.
    pub fn probes_address(&self) -> Option<&Place> {
        self.probes.as_ref().map(AdminServer::address)
    }

    /// Where control is served.
    pub fn control_address(&self) -> Option<&Place> {
        self.control.as_ref().map(AdminServer::address)
    }

    /// Names and addresses of the listeners.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.bound
            .iter()
            .map(|bound| (&*bound.name, bound.acceptor.socket().address()))
    }

    /// Binds what `next` needs and is not bound yet. All mistakes are told at once.
    ///
    /// # Errors
    ///
    /// What could not be bound; nothing has changed then.
    pub fn plan(&self, next: &Snapshot, shared: &Shared) -> Result<Plan, Vec<Diagnostic>> {
        let mut mistakes = Vec::new();
        let mut listeners = Vec::new();
        for (listener, section) in next.listeners.iter().zip(&next.config.listeners) {
            match self.plan_listener(listener.id, section, next, shared) {
                Ok(step) => listeners.push(step),
                Err(error) => {
                    let what = format!("listener `{}`", section.name.value);
                    mistakes.push(cannot_bind(&what, &section.address, &error));
                }
            }
        }
        let mut admin = |what: &str,
                         current: &Option<AdminServer>,
                         (wanted, role): (&Option<Located<Place>>, Role)| {
            plan_admin(current.as_ref(), wanted.as_ref(), role).unwrap_or_else(
                |(address, error)| {
                    mistakes.push(cannot_bind(what, &address, &error));
                    AdminStep::Keep
                },
            )
        };
        let probes = admin(
            "`admin.probes`",
            &self.probes,
            (&next.config.admin.probes, Role::Probes),
        );
        let control = admin(
            "`admin.control`",
            &self.control,
            (&next.config.admin.control, Role::Control),
        );
        if mistakes.is_empty() {
            Ok(Plan {
                listeners,
                probes,
                control,
            })
        } else {
            Err(mistakes)
        }
    }

    fn plan_listener(
        &self,
        id: ListenerId,
        section: &model::Listener,
        next: &Snapshot,
        shared: &Shared,
    ) -> io::Result<Step> {
        let configured = &section.address.value;
        let same = |bound: &&Bound| {
            bound.configured == *configured
                && bound.rules == section.unix
                && bound.reuse_port == section.reuse_port
        };
        if self
            .bound
            .iter()
            .any(|bound| bound.id == id && same(&bound))
        {
            return Ok(Step::Keep(id));
        }
        let (sockets, port) = if section.reuse_port {
            (shared.workers.len(), Port::Shared)
        } else {
            (1, Port::Own)
        };
        // An address that is bound already is handed on with its queue, so that nobody is refused: to the listener itself
        // when only `reuse_port` changes, to another one when its own gives it up.
        let keeps = |bound: &Bound| {
            let mut others = next.listeners.iter().zip(&next.config.listeners);
            others.any(|(listener, section)| {
                listener.id == bound.id && section.address.value == bound.configured
            })
        };
        let heir_of = |bound: &&Bound| {
            bound.configured == *configured
                && (bound.id == id || !configured.is_any_port() && !keeps(bound))
        };
        let socket = match self.bound.iter().find(heir_of) {
            Some(bound) => bound.acceptor.socket().adapt(sockets, port)?,
            None => Socket::bind(configured, section.unix, (sockets, port))?,
        };
        let acceptor = Acceptor::prepare(socket, id, &shared.store, &shared.workers)?;
        let name = section.name.value.as_str().into();
        Ok(Step::Open(Bound {
            id,
            name,
            configured: configured.clone(),
            rules: section.unix,
            reuse_port: section.reuse_port,
            acceptor,
        }))
    }

    /// Carries `plan` out; returns the listeners that are gone. The snapshot in force knows the new ones by now.
    pub fn apply(
        &mut self,
        plan: Plan,
        serve: impl Fn(AdminSocket, Role) -> AdminServer,
    ) -> Vec<ListenerId> {
        let mut old = std::mem::take(&mut self.bound);
        for step in plan.listeners {
            match step {
                Step::Keep(id) => {
                    if let Some(index) = old.iter().position(|bound| bound.id == id) {
                        self.bound.push(old.swap_remove(index));
                    }
                }
                Step::Open(bound) => {
                    // A new one follows them already; of one that was handed on, they are the only thing that can fail now.
                    if let Err(error) = bound.acceptor.socket().follow(bound.rules) {
                        tracing::warn!(listener = &*bound.name, %error, "socket keeps its mode or owner");
                    }
                    bound.acceptor.open();
                    self.bound.push(bound);
                }
            }
        }
        apply_admin(&mut self.probes, plan.probes, |socket| {
            serve(socket, Role::Probes)
        });
        apply_admin(&mut self.control, plan.control, |socket| {
            serve(socket, Role::Control)
        });
        // Dropping an acceptor stops it; one that was bound anew under its old name is not gone.
        let gone = old.iter().map(|bound| bound.id);
        gone.filter(|id| !self.bound.iter().any(|bound| bound.id == *id))
            .collect()
    }

    /// Leaves new clients to the other processes that share a port, if any may; whether there is such a port.
    pub fn turn_away(&self) -> bool {
        let shared = self.bound.iter().filter(|bound| bound.reuse_port);
        let turned = shared.map(|bound| bound.acceptor.socket().turn_away());
        turned.count() > 0
    }

    /// Stops accepting; what is returned is empty once the last connections have been handed over.
    pub fn stop(&mut self) -> Vec<TaskTracker> {
        let bound = self.bound.drain(..);
        bound.map(|bound| bound.acceptor.stop()).collect()
    }
}

fn plan_admin(
    current: Option<&AdminServer>,
    wanted: Option<&Located<Place>>,
    role: Role,
) -> Result<AdminStep, (Located<Place>, io::Error)> {
    match (current, wanted) {
        (Some(server), Some(wanted)) if *server.configured() == wanted.value => Ok(AdminStep::Keep),
        (_, Some(wanted)) => AdminSocket::bind(&wanted.value, role)
            .map(AdminStep::Open)
            .map_err(|error| (wanted.clone(), error)),
        (_, None) => Ok(AdminStep::Close),
    }
}

fn apply_admin(
    slot: &mut Option<AdminServer>,
    step: AdminStep,
    serve: impl FnOnce(AdminSocket) -> AdminServer,
) {
    match step {
        AdminStep::Keep => {}
        AdminStep::Close => *slot = None,
        AdminStep::Open(socket) => *slot = Some(serve(socket)),
    }
}

fn cannot_bind(what: &str, address: &Located<Place>, error: &io::Error) -> Diagnostic {
    let remedy = match error.kind() {
        _ if address.value.socket().is_none() => unix_remedy(error.kind()),
        io::ErrorKind::AddrInUse => {
            "another process, or this one, listens there: stop it or choose another port"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose a higher one",
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
        _ => "choose another address",
    };
    let message = format!(
        "{what} cannot bind {}: {}",
        address.value,
        system_text(error)
    );
    Diagnostic::error(message).at(address.at).label(remedy)
}

fn unix_remedy(error: io::ErrorKind) -> &'static str {
    match error {
        io::ErrorKind::AddrInUse => {
            "another process, or this one, listens there: stop it or choose another path"
        }
        io::ErrorKind::AlreadyExists => "what is there is no socket and stays: choose another path",
        io::ErrorKind::NotFound => "the socket's folder has to be there",
        io::ErrorKind::PermissionDenied => {
            "this process must be able to write into the socket's folder"
        }
        _ => "choose another path",
    }
}

/// The system's words without the number behind them.
fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}
