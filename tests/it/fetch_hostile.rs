//! Whatever an origin does, it cannot get bytes into the store, and the next origin is asked.

use std::time::{Duration, Instant};

use pgproof::fetch::{self, FetchError};

use crate::fetch::{Heard, Scene, content, network, pin};
use crate::origin::{Origin, Reply, Request};

const SIZE: usize = 200_000;

fn file() -> Vec<u8> {
    content(SIZE, 1)
}

/// Fetches [`file`] from an origin that answers so, and from a good one after that: it must arrive, and the wrong one be
/// blamed in these words. Gives the bad origin back.
fn blamed(why: &str, handler: impl Fn(&Request, &mut Reply<'_>) + Send + Sync + 'static) -> Origin {
    let scene = Scene::new();
    let (bad, good) = (Origin::serve(handler), Origin::of_file(&file()));
    let pin = pin("file", &file(), &[bad.url("file"), good.url("file")]);
    let heard = Heard::default();
    let start = Instant::now();
    fetch::fetch(std::slice::from_ref(&pin), &scene.store, Some(&network()), &heard).unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let heard = heard.0.into_inner().unwrap();
    assert!(heard.iter().any(|line| line.contains(why)), "{why:?} is not in {heard:?}");
    assert_eq!(scene.bytes(&pin), file());
    assert_eq!(scene.partials(), []);
    bad
}

/// Fetches [`file`] from an origin that answers so, and from no other: it must not arrive.
fn refused(handler: impl Fn(&Request, &mut Reply<'_>) + Send + Sync + 'static) -> FetchError {
    let scene = Scene::new();
    let origin = Origin::serve(handler);
    let pin = pin("file", &file(), &[origin.url("file")]);
    let error = scene.fetch(std::slice::from_ref(&pin)).unwrap_err();
    assert!(scene.store.find(pin.digest).unwrap().is_none());
    error
}

#[test]
fn other_bytes() {
    let bad = blamed("gave other bytes", |request, reply| reply.file(request, &content(SIZE, 2)));
    assert_eq!(bad.requests().len(), 1, "asking again would change nothing");
    assert!(refused(|request, reply| reply.file(request, &content(SIZE, 2))).is_unverified());
}

#[test]
fn another_size_is_refused_before_the_body() {
    let bad = blamed("gave another size: expected 200000 bytes, received 200001", |_, reply| {
        reply.head("200 OK", &[("Content-Length", "200001")]);
        reply.stall();
    });
    assert_eq!(bad.requests().len(), 1);
    assert!(refused(|_, reply| reply.whole("200 OK", &[], b"short")).is_unverified());
}

#[test]
fn a_body_that_ends_early_and_says_so() {
    let bad = blamed("gave another size: expected 200000 bytes, received 1000", |_, reply| {
        reply.head("200 OK", &[("Transfer-Encoding", "chunked")]);
        reply.chunk(&file()[..1000]);
        reply.chunk(b"");
    });
    assert_eq!(bad.requests().len(), 1);
}

#[test]
fn a_body_that_just_ends() {
    let bad = blamed("closed the connection after 1000 of 200000 bytes", |request, reply| match request.from() {
        None => {
            reply.head("200 OK", &[("Connection", "close")]);
            reply.body(&file()[..1000]);
            reply.close();
        }
        Some(from) => {
            reply.head("206 Partial Content", &[("Content-Range", &format!("bytes {from}-199999/200000"))]);
            reply.close();
        }
    });
    assert_eq!(bad.requests().len(), 3, "as often as the limit allows");
}

#[test]
fn an_endless_body_is_cut() {
    let endless = |_: &Request, reply: &mut Reply<'_>| {
        reply.head("200 OK", &[("Transfer-Encoding", "chunked")]);
        while reply.is_open() {
            reply.chunk(&[7; 10_000]);
        }
    };
    blamed("gave too much: expected 200000 bytes at most, received more", endless);
    assert!(refused(endless).is_unverified());
}

#[test]
fn a_body_that_is_right_and_goes_on() {
    blamed("gave too much", |_, reply| {
        reply.head("200 OK", &[("Transfer-Encoding", "chunked")]);
        reply.chunk(&[&file()[..], b"!"].concat());
        reply.chunk(b"");
    });
}

#[test]
fn a_body_that_is_never_whole() {
    let bad = blamed("broke off after 1000 bytes", |request, reply| match request.from() {
        None => reply.broken(&file(), 1000),
        Some(1000) => {
            reply.head(
                "206 Partial Content",
                &[("Content-Range", "bytes 1000-199999/200000"), ("Content-Length", "199000")],
            );
            reply.close();
        }
        Some(from) => panic!("{from}"),
    });
    assert_eq!(bad.requests().len(), 3);
}

#[test]
fn silence() {
    blamed("sent next to nothing", |_, reply| reply.stall());
    blamed("sent next to nothing", |_, reply| {
        reply.head("200 OK", &[("Content-Length", "200000")]);
        reply.stall();
    });
}

#[test]
fn a_trickle() {
    blamed("sent next to nothing", |_, reply| {
        reply.head("200 OK", &[("Content-Length", "200000")]);
        while reply.is_open() {
            reply.body(b"x");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn circles() {
    blamed("in a circle", |request, reply| reply.whole("302 Found", &[("Location", &request.path)], b""));
    let bad = blamed("more than 10 times", |request, reply| {
        reply.whole("302 Found", &[("Location", &format!("{}x", request.path))], b"");
    });
    assert_eq!(bad.requests().len(), 11);
}

#[test]
fn redirects_out_of_the_web() {
    let refusals = [
        ("ftp://127.0.0.1/file", "to ftp://127.0.0.1/file, which is neither http nor https"),
        ("file://host/etc/hostname", "to file://host/etc/hostname, which is neither http nor https"),
        ("file:///etc/hostname", "to file:///etc/hostname, which is neither"),
        ("data:,x", "to data:,x, which is neither http nor https"),
        ("http://", "to \"http://\", which is no URL"),
        ("", "in a circle"),
    ];
    for (to, why) in refusals {
        let bad = blamed(why, move |_, reply| reply.whole("301 Moved", &[("Location", to)], b""));
        assert_eq!(bad.requests().len(), 1);
    }
}

#[test]
fn a_good_redirect_is_followed() {
    let scene = Scene::new();
    let good = Origin::of_file(&file());
    let to = good.url("there");
    let first = Origin::serve(move |_, reply| reply.whole("307 Temporary Redirect", &[("Location", &to)], b""));
    scene.fetch(&[pin("file", &file(), &[first.url("here")])]).unwrap();
    assert_eq!(good.requests()[0].path, "/there");
    assert_eq!(good.requests()[0].header("referer"), None);
}

#[test]
fn gone() {
    for status in ["404 Not Found", "410 Gone", "403 Forbidden", "401 Unauthorized", "204 No Content"] {
        let bad = blamed(&format!("answered {status}"), move |_, reply| reply.whole(status, &[], b""));
        assert_eq!(bad.requests().len(), 1, "{status} is not asked again");
    }
}

#[test]
fn passing_trouble_is_waited_out() {
    for status in
        ["503 Service Unavailable", "429 Too Many Requests", "408 Request Timeout", "500 Internal Server Error"]
    {
        let scene = Scene::new();
        let answered = std::sync::atomic::AtomicUsize::new(0);
        let origin =
            Origin::serve(move |request, reply| match answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => reply.whole(status, &[("Retry-After", "1")], b"later"),
                1 => reply.whole(status, &[], b"later"),
                _ => reply.file(request, &file()),
            });
        let start = Instant::now();
        scene.fetch(&[pin("file", &file(), &[origin.url("file")])]).unwrap();
        assert!(start.elapsed() >= Duration::from_secs(1), "Retry-After is honoured: {:?}", start.elapsed());
        assert_eq!(origin.requests().len(), 3);
    }
}

#[test]
fn retry_after_may_be_a_date() {
    let scene = Scene::new();
    let answered = std::sync::atomic::AtomicBool::new(false);
    let origin = Origin::serve(move |request, reply| {
        if answered.swap(true, std::sync::atomic::Ordering::Relaxed) {
            reply.file(request, &file());
        } else {
            let dates = [("Date", "Fri, 31 Dec 1999 23:59:59 GMT"), ("Retry-After", "Sat, 01 Jan 2000 00:00:00 GMT")];
            reply.whole("503 Service Unavailable", &dates, b"later");
        }
    });
    let start = Instant::now();
    scene.fetch(&[pin("file", &file(), &[origin.url("file")])]).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn lasting_trouble_is_not_waited_out() {
    let bad = blamed("answered 503", |_, reply| reply.whole("503 Service Unavailable", &[], b""));
    assert_eq!(bad.requests().len(), 3);
    // Longer than the limit: better ask somebody else than stand there.
    let bad = blamed("answered 503", |_, reply| {
        reply.whole("503 Service Unavailable", &[("Retry-After", "18446744073709551615")], b"");
    });
    assert_eq!(bad.requests().len(), 1);
}

/// Fetches the rest of [`file`] from an origin that answers so to a range; it must arrive whole.
fn resumed(handler: impl Fn(&Request, &mut Reply<'_>) + Send + Sync + 'static) -> Vec<Option<usize>> {
    let scene = Scene::new();
    let origin = Origin::serve(move |request, reply| match request.from() {
        None => reply.file(request, &file()),
        Some(_) => handler(request, reply),
    });
    let pin = pin("file", &file(), &[origin.url("file")]);
    scene.leave(&pin, &file()[..1000]);
    scene.fetch(std::slice::from_ref(&pin)).unwrap();
    assert_eq!(scene.bytes(&pin), file());
    origin.requests().iter().map(Request::from).collect()
}

#[test]
fn a_server_without_ranges_starts_over() {
    assert_eq!(resumed(|_, reply| reply.whole("200 OK", &[], &file())), [Some(1000)]);
}

#[test]
fn a_wrong_range_is_not_used() {
    let part = &file()[1000..];
    let ranges = [
        "bytes 999-199998/200000",
        "bytes 0-198999/200000",
        "bytes 1000-198999/200000",
        "items 1-2/3",
        "",
        "bytes */200000",
    ];
    for range in ranges {
        let part = part.to_vec();
        let asked = resumed(move |_, reply| reply.whole("206 Partial Content", &[("Content-Range", range)], &part));
        assert_eq!(asked, [Some(1000), None], "{range:?}");
    }
    assert_eq!(resumed(|_, reply| reply.whole("416 Range Not Satisfiable", &[], b"")), [Some(1000), None]);
    // The right range, with bytes from elsewhere.
    let asked = resumed(|_, reply| {
        reply.whole("206 Partial Content", &[("Content-Range", "bytes 1000-199999/200000")], &file()[..199_000]);
    });
    assert_eq!(asked, [Some(1000), None]);
}

#[test]
fn a_range_that_nobody_asked_for() {
    let range = [("Content-Range", "bytes 0-199999/200000")];
    blamed("was not asked for", move |_, reply| reply.whole("206 Partial Content", &range, &file()));
    blamed("gave another size: expected 200000 bytes, received 300000", |_, reply| {
        reply.whole("206 Partial Content", &[("Content-Range", "bytes 0-199999/300000")], &file());
    });
}

#[test]
fn nothing_is_decompressed() {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&file()).unwrap();
    let compressed = gzip.finish().unwrap();
    let bad = blamed("gave another size", move |_, reply| {
        reply.whole("200 OK", &[("Content-Encoding", "gzip")], &compressed);
    });
    assert_eq!(bad.requests()[0].header("accept-encoding"), Some("identity"));

    // A tar.gz that a server calls encoded is what is locked all the same.
    let scene = Scene::new();
    let origin = Origin::serve(|_, reply| reply.whole("200 OK", &[("Content-Encoding", "gzip")], &file()));
    scene.fetch(&[pin("file", &file(), &[origin.url("file")])]).unwrap();
}

#[test]
fn noise_instead_of_http() {
    blamed("cannot be reached", |_, reply| {
        reply.body(b"SSH-2.0-OpenSSH_9.2p1\r\n");
        reply.close();
    });
    blamed("cannot be reached", |_, reply| reply.close());
    blamed("cannot be reached", |_, reply| {
        reply.body(b"HTTP/1.1 200 OK\r\n");
        while reply.is_open() {
            reply.body(&[b'x'; 10_000]);
        }
    });
}

#[test]
fn two_contradicting_lengths() {
    blamed("cannot be reached", |_, reply| {
        reply.head("200 OK", &[("Content-Length", "200000"), ("Content-Length", "5")]);
        reply.body(&file());
        reply.close();
    });
}

#[test]
fn a_certificate_that_nobody_knows() {
    let scene = Scene::new();
    let (bad, _) = Origin::serve_tls(|request, reply| reply.file(request, &file()));
    let pin = pin("file", &file(), &[bad.url("file")]);
    let error = scene.fetch(std::slice::from_ref(&pin)).unwrap_err();
    assert!(error.to_string().contains("cannot be trusted: invalid peer certificate"), "{error}");
    assert_eq!(bad.requests().len(), 0);
    assert_eq!(bad.connections(), 1, "asking again would change nothing");
}

#[test]
fn the_message_names_every_origin_and_what_to_do() {
    let scene = Scene::new();
    let wrong = Origin::of_file(&content(SIZE, 2));
    let (gone, down) = (Origin::of_status("404 Not Found"), Origin::of_status("502 Bad Gateway"));
    let bytes = file();
    let secret = gone.url("b").replace("http://", "http://user:secret@");
    let pins = [
        pin("a.deb", &bytes, &[wrong.url("a"), gone.url("a")]),
        pin("b.deb", &bytes[1..], &[secret]),
        pin("c.deb", &bytes[2..], &[down.url("c")]),
        pin("d.deb", &bytes[3..], &[]),
    ];
    let error = scene.fetch(&pins).unwrap_err();
    assert!(error.is_unverified());
    let mut text = error.to_string();
    for (origin, name) in [(&wrong, "http://wrong/"), (&gone, "http://gone/"), (&down, "http://down/")] {
        text = text.replace(&origin.url(""), name);
    }
    insta::assert_snapshot!(text, @"
    4 of 4 inputs could not be fetched
      a.deb
        http://wrong/a gave other bytes: expected sha256:ec5c34c02e8ab9f6b54042bd2ce4f2511d6a6d41a5f9149760f0a824e3bd24f3, received sha256:579a7bbc297dab4b7fa996fd750fadc7ba0b8132c838581a82debc832b01064b
        http://gone/a answered 404 Not Found
      b.deb
        http://gone/b answered 404 Not Found
      c.deb
        http://down/c answered 502 Bad Gateway
      d.deb: there is no origin to ask
    nothing says where it could be had: put it in with `pgproof store add FILE`
    what an origin gave is not what is locked, and was not kept: name another with --mirror URL
    no origin has it any more: name one that does with --mirror URL, or lock what there is now with `pgproof lock NAME`
    check the network and run the same command again: what was received is kept
    ");

    let error = scene.fetch(&pins[1..]).unwrap_err();
    assert!(!error.is_unverified());
}
