"""A proxy before a real Ray dashboard: with TLS, and with a word in before each request is passed on."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from aiohttp import ClientSession, WSMsgType, web


@contextmanager
def proxy(
    to: str, certificate: Path | None = None, before: Callable[[str, str], None] = lambda method, path: None
) -> Iterator[str]:
    """Pass requests and websockets on to ``to``; the proxy's address.

    Args:
        certificate: PEM file with key and certificate, for https.
        before: called with method and path before a request is passed on; if it raises, nothing is passed on.
    """
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    address: list[str] = []

    async def serve() -> None:
        async with ClientSession(auto_decompress=False) as session:
            app = web.Application(client_max_size=1 << 30)
            app.router.add_route("*", "/{tail:.*}", _handler(session, to, before))
            runner = web.AppRunner(app)
            await runner.setup()
            context = None
            if certificate:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(certificate)
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            port = site._server.sockets[0].getsockname()[1]
            address.append(f"{'https' if certificate else 'http'}://127.0.0.1:{port}")
            ready.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    ready.wait(30)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def _handler(session: ClientSession, to: str, before: Callable[[str, str], None]):
    async def handle(request: web.Request) -> web.StreamResponse:
        before(request.method, request.path)
        headers = {k: v for k, v in request.headers.items() if k in ("Authorization", "Content-Type")}
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _websocket(request, session, f"{to}{request.path_qs}", headers)
        body = await request.read()
        async with session.request(
            request.method, f"{to}{request.path_qs}", data=body, headers=headers
        ) as reply:
            content = await reply.read()
            kept = {k: v for k, v in reply.headers.items() if k in ("Content-Type", "Content-Encoding")}
            return web.Response(status=reply.status, body=content, headers=kept)

    return handle


async def _websocket(
    request: web.Request, session: ClientSession, url: str, headers
) -> web.WebSocketResponse:
    ours = web.WebSocketResponse()
    await ours.prepare(request)
    async with session.ws_connect(url, headers=headers) as theirs:
        async for message in theirs:
            if message.type == WSMsgType.TEXT:
                await ours.send_str(message.data)
    await ours.close()
    return ours


def certificates(
    folder: Path, expired: bool = False, addresses: Sequence[str] = ("127.0.0.1",)
) -> tuple[Path, Path]:
    """An authority of its own (PEM), and key and certificate (PEM) it has issued for some addresses."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(UTC)
    begin, end = now - timedelta(days=30), now + timedelta(days=-1 if expired else 30)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {n: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"flowsweep {n}")]) for n in keys}

    def issue(name: str, authority: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder(names["ca"], names[name], keys[name].public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(begin).not_valid_after(
            now + timedelta(days=30) if authority else end
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if authority:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        else:
            alternatives = x509.SubjectAlternativeName([x509.IPAddress(ip_address(one)) for one in addresses])
            builder = builder.add_extension(alternatives, critical=False)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(keys[name].public_key()), critical=False
        )
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["ca"].public_key()), critical=False
        )
        return builder.sign(keys["ca"], hashes.SHA256())

    pem = serialization.Encoding.PEM
    key = keys["server"].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authority, server = folder / "ca.pem", folder / "server.pem"
    authority.write_bytes(issue("ca", True).public_bytes(pem))
    server.write_bytes(key + issue("server", False).public_bytes(pem))
    return authority, server
