//! From the queue to the collector.
//!
//! Path: `app` runs [`run`] on the control runtime, one task for each collector in force. A batch is sent when it is
//! full or a second old; one at a time, so that a slow collector fills the queue and nothing else. A batch that is not
//! taken is tried again for a few seconds and then given up, and counted.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::select;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::collector::{Client, Target};
use super::queue::{BATCH, Entry, Queue};

/// Longest time that spans wait for their batch to fill.
const EVERY: Duration = Duration::from_secs(1);

/// How long one batch may take, with its retries.
const LIMIT: Duration = Duration::from_secs(5);

/// Sends what comes through `queue` to `target`, until the queue is closed or `ending` asks for the end; then what
/// waits is sent, too.
pub async fn run(queue: Arc<Queue>, target: Target, ending: CancellationToken) {
    let exporter = match exporter(&target) {
        Ok(exporter) => exporter,
        Err(error) => {
            tracing::error!(detail = error.to_string(), "spans cannot be exported");
            queue.close();
            return;
        }
    };
    let mut sender = Sender {
        exporter,
        queue,
        url: target.url(),
        healthy: true,
        scope: InstrumentationScope::builder("outrigger")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    };
    loop {
        select! {
            () = sender.queue.due() => {}
            () = sleep(EVERY) => {}
            () = ending.cancelled() => sender.queue.close(),
        }
        let (entries, open) = sender.queue.take();
        sender.send(entries).await;
        if !open {
            return;
        }
    }
}

fn exporter(target: &Target) -> Result<SpanExporter, ExporterBuildError> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(target.url())
        .with_timeout(LIMIT)
        .with_http_client(Client::new(target.clone()))
        .build()?;
    let resource = Resource::builder().with_service_name(target.service.clone());
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

struct Sender {
    exporter: SpanExporter,
    queue: Arc<Queue>,
    url: String,
    healthy: bool,
    scope: InstrumentationScope,
}

impl Sender {
    async fn send(&mut self, entries: Vec<Entry>) {
        let mut batch = Vec::with_capacity(BATCH.min(entries.len() * 2));
        for entry in entries {
            entry.into_spans(&self.scope, &mut batch);
            if batch.len() >= BATCH {
                self.export(std::mem::take(&mut batch)).await;
            }
        }
        if !batch.is_empty() {
            self.export(batch).await;
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let counters = &self.queue.counters;
        match self.exporter.export(batch).await {
            Ok(()) => {
                counters.exported.inc_by(spans);
                if !self.healthy {
                    tracing::info!(detail = &*self.url, "spans are delivered again");
                }
                self.healthy = true;
            }
            Err(error) => {
                counters.failed.inc_by(spans);
                // Told once, not for every batch.
                if self.healthy {
                    let detail =
                        format!("{}: {error}; spans are lost until it takes them", self.url);
                    tracing::warn!(detail, "spans not delivered");
                }
                self.healthy = false;
            }
        }
    }
}
