//! One gzip member, compressed on several cores; the same bytes on any number of them.
//!
//! # Why
//!
//! The content is cut every 128 KiB, whatever the number of threads. Each block is compressed by itself, with the
//! 32 KiB before it as its dictionary, and ends on a byte boundary (a sync flush), so that the pieces make one deflate stream
//! when they are put one after the other. This is how pigz does it; unlike several gzip members, every decoder reads it whole
//! (the widespread flate2 `GzDecoder` stops after the first member).
//!
//! zlib-rs at level 9 with short Huffman blocks (`mem_level` 6) makes a PostgreSQL tree 0.9 % smaller than `gzip -9`, in two
//! fifths of its processor time. libdeflate would be faster still but is C, cannot continue from a dictionary and cannot end
//! a piece without ending the stream. The version of zlib-rs is pinned exactly, because another might compress to other
//! bytes; its choices do not depend on the processor (vector instructions only compare and move).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use zlib_rs::crc32::crc32;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Method, Strategy};

/// Content is cut every so many bytes. Part of the format: another value gives other bytes.
const BLOCK: usize = 128 << 10;
/// How far deflate looks back.
const WINDOW: usize = 32 << 10;
/// More threads would take more memory than pgproof may use.
const THREADS_LIMIT: usize = 16;
/// RFC 1952: magic, deflate, no flags, no time, slowest compression, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
/// How every block is compressed. Part of the format.
const CONFIG: DeflateConfig =
    DeflateConfig { level: 9, method: Method::Deflated, window_bits: -15, mem_level: 6, strategy: Strategy::Default };

/// Compresses what is written to it. Memory: about half a MiB for each thread.
#[derive(Debug)]
pub struct Encoder<W: Write> {
    out: W,
    /// The end of the block before, then the block that is being filled.
    data: Vec<u8>,
    dictionary: usize,
    checksum: u32,
    length: u32,
    /// Blocks on their way, in order.
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    jobs: SyncSender<Job>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    data: Vec<u8>,
    dictionary: usize,
    last: bool,
    reply: SyncSender<io::Result<Vec<u8>>>,
}

impl<W: Write> Encoder<W> {
    /// Writes the member's header to `out` and starts `threads` threads, or as many as memory permits.
    pub fn new(mut out: W, threads: NonZeroUsize) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        let threads = threads.get().min(THREADS_LIMIT);
        let (jobs, queue) = sync_channel(threads);
        let queue = Arc::new(Mutex::new(queue));
        let workers = (0..threads)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new().name("gzip".to_owned()).spawn(move || work(&queue))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            out,
            data: Vec::with_capacity(WINDOW + BLOCK),
            dictionary: 0,
            checksum: 0,
            length: 0,
            pending: VecDeque::new(),
            jobs,
            workers,
        })
    }

    /// Compresses what is left and writes the member's end. Without it the member is incomplete.
    pub fn finish(mut self) -> io::Result<W> {
        self.dispatch(true)?;
        while self.receive()? {}
        let Self { mut out, checksum, length, jobs, workers, .. } = self;
        drop(jobs);
        for worker in workers {
            worker.join().map_err(|_panic| ended())?;
        }
        out.write_all(&checksum.to_le_bytes())?;
        out.write_all(&length.to_le_bytes())?;
        Ok(out)
    }

    /// Gives the current block to whichever thread is free.
    fn dispatch(&mut self, last: bool) -> io::Result<()> {
        let mut next = Vec::with_capacity(WINDOW + BLOCK);
        next.extend_from_slice(&self.data[self.data.len().saturating_sub(WINDOW)..]);
        let (reply, compressed) = sync_channel(1);
        let dictionary = std::mem::replace(&mut self.dictionary, next.len());
        let data = std::mem::replace(&mut self.data, next);
        self.jobs.send(Job { data, dictionary, last, reply }).map_err(|_closed| ended())?;
        self.pending.push_back(compressed);
        if self.pending.len() > 2 * self.workers.len() {
            self.receive()?;
        }
        Ok(())
    }

    /// Writes the oldest block that is on its way; `false` if none is.
    fn receive(&mut self) -> io::Result<bool> {
        let Some(compressed) = self.pending.pop_front() else { return Ok(false) };
        let compressed = compressed.recv().map_err(|_closed| ended())??;
        self.out.write_all(&compressed)?;
        Ok(true)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        // A full block waits for the next byte: only then it is known not to be the last.
        if self.data.len() - self.dictionary == BLOCK {
            self.dispatch(false)?;
        }
        let count = bytes.len().min(BLOCK - (self.data.len() - self.dictionary));
        self.data.extend_from_slice(&bytes[..count]);
        self.checksum = crc32(self.checksum, &bytes[..count]);
        // The member's end has the length modulo 2³².
        self.length = self.length.wrapping_add(u32::try_from(count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut deflate = Deflate::new_with_config(CONFIG);
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        // Who asked may have given up meanwhile.
        job.reply.send(compress(&mut deflate, &job)).ok();
    }
}

fn compress(deflate: &mut Deflate, job: &Job) -> io::Result<Vec<u8>> {
    let (dictionary, block) = job.data.split_at(job.dictionary);
    deflate.reset();
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).map_err(|error| io::Error::other(error.as_str()))?;
    }
    let mut compressed = vec![0; zlib_rs::compress_bound(block.len()) + 64];
    let flush = if job.last { DeflateFlush::Finish } else { DeflateFlush::SyncFlush };
    deflate.compress(block, &mut compressed, flush).map_err(|error| io::Error::other(error.as_str()))?;
    let length = usize::try_from(deflate.total_out()).unwrap_or(usize::MAX);
    if deflate.total_in() != block.len() as u64 || length >= compressed.len() {
        return Err(io::Error::other("a compressed block is larger than it can be"));
    }
    compressed.truncate(length);
    Ok(compressed)
}

fn ended() -> io::Error {
    io::Error::other("a compressing thread ended before its time")
}
