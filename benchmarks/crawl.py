"""Speed of the crawl against Scrapy: pages a second of CPU time, on the same static site, interleaved in one run.

Both obey robots.txt, follow every link of the host, 16 requests at once, and keep every page. Ours does what the stage
does (frontier in SQLite, three WARC records a page, packed, with digests). Scrapy, in its favour, writes bodies to one
file as they are and remembers nothing. It has two figures: links by its LinkExtractor, and by XPath and a set, which is
faster on pages with thousands of links. (JOBDIR, with which it can be resumed as ours can, changes little.)
The server (nginx where there is one, else aiohttp) runs in a process of its own. Its CPU time is not counted, nor is
that of imports.

Needs `scrapy==2.19.0`, in this environment or in that of `--peer-python`, and a folder of HTML:
`--site`, by default ../shared/data/storybooks; another good one is the html folder of Debian's python3-doc.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))

from crawling import free_port, wait_for

GOAL = 3.0
OURS = """
import json, pathlib, sys, time
from gristmill.crawl import stage
from gristmill.recipe import Crawl
params = Crawl(seeds=[sys.argv[1]], delay=0.0, max_pages=1_000_000, concurrency=16, allow_networks=["127.0.0.0/8"])
cpu, wall = time.process_time(), time.monotonic()
made = stage.run({}, params, pathlib.Path(sys.argv[2]))
print(json.dumps([made.counts["pages"], time.process_time() - cpu, time.monotonic() - wall]))
"""
SCRAPY = """
import json, sys, time
import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.linkextractors import LinkExtractor
out, pages, base = open(sys.argv[2] + "/pages", "wb"), 0, sys.argv[1].rsplit("/", 1)[0] + "/"
class Spider(scrapy.Spider):
    name = "bench"
    start_urls = [sys.argv[1]]
    links = LinkExtractor(allow="^" + base.replace(".", "[.]"))
    def parse(self, response):
        global pages
        if isinstance(response, scrapy.http.HtmlResponse):
            pages += 1
            out.write(response.body)
            if sys.argv[3] == "LinkExtractor":
                found = [link.url for link in self.links.extract_links(response)]
            else:
                found = {response.urljoin(href).partition("#")[0] for href in response.xpath("//a/@href").getall()}
            for url in found:
                if url.startswith(base):
                    yield scrapy.Request(url, self.parse)
settings = {"ROBOTSTXT_OBEY": True, "LOG_ENABLED": False, "TELNETCONSOLE_ENABLED": False, "COOKIES_ENABLED": False,
            "CONCURRENT_REQUESTS": 16, "CONCURRENT_REQUESTS_PER_DOMAIN": 16, "DOWNLOAD_DELAY": 0, "DEPTH_LIMIT": 20}
cpu, wall = time.process_time(), time.monotonic()
process = CrawlerProcess(settings)
process.crawl(Spider)
process.start()
print(json.dumps([pages, time.process_time() - cpu, time.monotonic() - wall]))
"""
NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; types {{ text/html html htm; text/css css; }}
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ listen 127.0.0.1:{port}; root {site}; }}
}}
"""
AIOHTTP = """
import sys
from aiohttp import web
app = web.Application()
app.router.add_static("/", sys.argv[1])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None)
"""


@contextmanager
def server(site: Path, folder: Path) -> Iterator[str]:
    """Serve a folder in a process of its own; yields its address."""
    port = free_port()
    if found := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"):
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, site=site))
        command = [found, "-c", str(config)]
    else:
        command = [sys.executable, "-c", AIOHTTP, str(site), str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def measure(python: str, code: str, url: str, *more: str) -> tuple[int, float, float]:
    """Pages, CPU seconds and wall seconds of one crawl."""
    with tempfile.TemporaryDirectory() as out:
        script = Path(out) / "run.py"  # Scrapy reads its spider's source: `python -c` has none
        script.write_text(code)
        done = subprocess.run(
            [python, str(script), url, out, *more], check=False, capture_output=True, text=True, timeout=600
        )
    if done.returncode:
        sys.exit(f"{python}: {done.stderr[-2000:]}")
    pages, cpu, wall = json.loads(done.stdout.splitlines()[-1])
    return pages, cpu, wall


def main() -> None:
    """Measure, print a table, and last the result as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, under a minute")
    parser.add_argument("--site", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "storybooks")
    parser.add_argument("--start", default="index.html", help="page to begin with")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has Scrapy")
    given = parser.parse_args()
    site = given.site.resolve()
    if not (site / given.start).exists():
        sys.exit(f"no {given.start} in {site}: name a folder of HTML with --site")
    version = subprocess.run(
        [given.peer_python, "-c", "import scrapy; print(scrapy.__version__)"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout.strip()
    if not version:
        sys.exit(f"{given.peer_python} has no Scrapy: pip install scrapy==2.19.0, or name another with --peer-python")
    contestants = {
        "gristmill": (sys.executable, OURS, ()),
        f"scrapy {version}, LinkExtractor": (given.peer_python, SCRAPY, ("LinkExtractor",)),
        f"scrapy {version}, XPath": (given.peer_python, SCRAPY, ("XPath",)),
    }
    counts: set[int] = set()
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as folder, server(site, Path(folder)) as address:
        for number in range(1 if given.quick else 3):
            for name, (python, code, more) in contestants.items():
                pages, cpu, wall = measure(python, code, f"{address}/{given.start}", *more)
                rates[name].append(pages / cpu)
                counts.add(pages)
                print(f"{number + 1} {name:30} {pages:6} pages  {pages / cpu:8.0f} a CPU second  {wall:6.1f} s")
    if max(counts) > 1.02 * min(counts):
        sys.exit(f"not the same work: {counts} pages")
    ours, *others = rates
    mine = statistics.median(rates[ours])
    results = []
    for name in others:
        theirs = statistics.median(rates[name])
        results.append(
            {
                "claim": f"crawl {site.name}",
                "unit": "pages a CPU second",
                "ours": round(mine, 1),
                "peer": name,
                "theirs": round(theirs, 1),
                "ratio": round(mine / theirs, 2),
                "goal": GOAL,
                "better": "higher",
            }
        )
    print(json.dumps({"benchmark": "crawl", "results": results}))


if __name__ == "__main__":
    main()
