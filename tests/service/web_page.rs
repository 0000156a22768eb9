//! The page for people as it is sent: paths, headers, caching. What it does is tested in Chromium by `clients/page/test.sh`.

use heldar_footage::proto;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::http::{Answer, call};
use super::server::{Server, Site};

/// The quoted paths below `/page` in the page's HTML.
fn assets(html: &str) -> Vec<String> {
    html.split('"')
        .filter(|text| text.starts_with("/page/"))
        .map(ToOwned::to_owned)
        .collect()
}

fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    call(server, "GET", path, headers, b"")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_all_that_it_loads_come_with_a_strict_policy_and_are_kept_by_browsers() {
    let site = Site::new();
    let server = site.start().await;
    let page = get(&server, "/", &[]);
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let html = page.text();
    // With these the policy would break the page, or need a hole.
    assert!(!html.contains("style=") && !html.contains("onload="));

    let assets = assets(&html);
    let mut types: Vec<String> = Vec::new();
    for asset in &assets {
        let (path, digest) = asset.split_once('?').expect("a digest after the name");
        let whole = get(&server, asset, &[]);
        assert_eq!(whole.status, 200, "{asset}");
        let etag = whole.header("etag").unwrap().to_owned();
        assert!(etag.starts_with(&format!("\"{digest}")), "{asset}: {etag}");
        let caching = |path: &str| {
            get(&server, path, &[])
                .header("cache-control")
                .unwrap()
                .to_owned()
        };
        assert_eq!(caching(asset), "public, max-age=31536000, immutable");
        assert_eq!(caching(path), "no-cache");
        assert_eq!(caching(&format!("{path}?0123456789abcdef")), "no-cache");
        let packed = get(&server, asset, &[("Accept-Encoding", "gzip, br")]);
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert!(packed.body.starts_with(&[0x1f, 0x8b]));
        assert_ne!(packed.header("etag"), Some(etag.as_str()));
        types.push(whole.header("content-type").unwrap().to_owned());
    }
    types.sort();
    let expected = [
        "image/svg+xml",
        "text/css; charset=utf-8",
        "text/javascript; charset=utf-8",
    ];
    assert_eq!(types, expected);

    for path in assets.iter().map(String::as_str).chain(["/"]) {
        let whole = get(&server, path, &[]);
        let policy = whole.header("content-security-policy").unwrap();
        let rules: Vec<&str> = policy.split("; ").collect();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(rules.contains(&rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
        assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(whole.header("referrer-policy"), Some("no-referrer"));

        let head = call(&server, "HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
        for name in ["content-type", "content-length", "etag", "cache-control"] {
            assert_eq!(head.header(name), whole.header(name), "{path} {name}");
        }
        let etag = whole.header("etag").unwrap();
        let unchanged = get(&server, path, &[("If-None-Match", etag)]);
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
        let changed = get(&server, path, &[("If-None-Match", "\"other\"")]);
        assert_eq!(changed.status, 200);
    }
    // What goes over the wire to somebody who opens the page for the first time.
    let sent: usize = assets
        .iter()
        .map(|asset| {
            get(&server, asset, &[("Accept-Encoding", "gzip")])
                .body
                .len()
        })
        .sum();
    assert!(sent < 150 << 10, "the page is {sent} bytes");
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_hides_nothing_else_that_the_port_serves() {
    let site = Site::new();
    let server = site.start().await;
    for path in [
        "/page",
        "/page/",
        "/page/unknown.js",
        "/page/../Cargo.toml",
        "/page/..%2findex.html",
        "/page/%2e%2e/index.html",
        "/page/page.js/more",
        "/index.html",
        "/media/clips/unknown.mp4",
    ] {
        let answer = get(&server, path, &[]);
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.text().contains("<!doctype"), "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(
            call(&server, method, "/", &[], b"x").status,
            405,
            "{method}"
        );
    }
    let cameras = server
        .catalog()
        .list_cameras(proto::ListCamerasRequest::default())
        .await
        .unwrap();
    assert!(cameras.into_inner().cameras.is_empty());
    let health = HealthClient::new(server.channel())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(health.into_inner().status, 1, "serving");
    assert_eq!(server.stop(), 0);
}
