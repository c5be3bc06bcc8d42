"""A real browser, driven over its own protocol (Chrome DevTools) through two pipes."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from models import Listen
from page_parts import EXAMPLES, slow

from gristmill.serving.memory.memory_store import MemoryStore

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)
PATIENCE = 300.0  # seconds


class Browser:
    """One page of a headless browser. What it logs, what it asks of the network and what goes wrong is collected."""

    def __init__(self, profile: str) -> None:
        reads, self.out = os.pipe()
        self.into, writes = os.pipe()
        # the protocol is spoken on the descriptors 3 and 4
        command = f'exec "$@" 3<&{reads} 4>&{writes}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(reads, writes),
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self.number, self.session, self.waiting = 0, "", b""
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.sent: list[str] = []  # bodies of requests
        self.typed: list[str] = []  # into dialogs that the page will show

    def attach(self) -> None:
        """Begin to drive its page."""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(info["targetId"] for info in targets if info["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser for something and wait for its answer."""
        number = self.send(method, params)
        while True:
            answer = self.read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def send(self, method: str, params: dict[str, Any]) -> int:
        """Ask the browser for something; the number that its answer will have."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        return self.number

    def read(self) -> dict[str, Any]:
        """The next message; of events, keep what tests ask about."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.waiting:
            assert select.select([self.into], [], [], max(0, end - time.monotonic()))[0], "the browser says nothing"
            more = os.read(self.into, 1 << 20)
            assert more, "the browser has ended"
            self.waiting += more
        data, _, self.waiting = self.waiting.partition(b"\0")
        message: dict[str, Any] = json.loads(data)
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
            self.sent.append(params["request"].get("postData", ""))
        elif method == "Page.javascriptDialogOpening":
            told = {"promptText": self.typed.pop(0)} if self.typed else {}
            self.send("Page.handleJavaScriptDialog", {"accept": bool(told), **told})
        elif method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(str(params["args"]))
        return message

    def open(self, url: str, width: int = 1200, height: int = 800, scheme: str = "light", kept: bool = False) -> None:
        """Show a page in a window of that size, and forget what the one before logged and, unless it is `kept`, what
        was stored."""
        if url.startswith("http") and not kept:
            self.call("Storage.clearDataForOrigin", origin=url.rstrip("/"), storageTypes="all")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.errors.clear()
        self.requests.clear()
        self.sent.clear()
        self.call("Page.navigate", url=url)
        self.until("document.readyState == 'complete'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < end, f"never: {script}; {self.errors}"
            time.sleep(0.02)

    def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="\r" if key == "Enter" else "", **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        middle = "(r => [r.x + r.width / 2, r.y + r.height / 2])"
        x, y = self.run(f"{middle}(document.querySelector({selector!r}).getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def close(self) -> None:
        """End it."""
        os.close(self.out)
        os.close(self.into)
        self.process.terminate()
        self.process.wait(PATIENCE)


@pytest.fixture(scope="session")
def address(run_folder: Path, listen: Listen) -> Iterator[str]:
    """A real server."""
    with listen(slow(run_folder, "tiny", EXAMPLES, pause=0.004), loopback=True) as address:
        yield f"{address}/"


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    """What a server remembers."""
    return MemoryStore(tmp_path_factory.mktemp("memory") / "memory.sqlite")


@pytest.fixture(scope="session")
def remembering(run_folder: Path, memory: MemoryStore, listen: Listen) -> Iterator[str]:
    """A real server with a memory."""
    with listen(slow(run_folder, "tiny", pause=0.004), memory=memory, loopback=True) as address:
        yield f"{address}/"


@pytest.fixture(scope="session")
def endless(endless_folder: Path, listen: Listen) -> Iterator[str]:
    """A real server whose answers last until they are stopped."""
    with listen(slow(endless_folder, "endless"), loopback=True) as address:
        yield f"{address}/"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser with a new profile."""
    if not CHROMIUM:
        pytest.skip("no chromium here: these tests need one (Debian: apt install chromium)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        opened = Browser(profile)
        try:
            opened.attach()
            yield opened
        finally:
            opened.close()
