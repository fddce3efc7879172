# SPDX-License-Identifier: GPL-2.0-or-later
"""A PC's network card that asks for an address: dhcp_client.py INTERFACE MAC [--vendor TEXT] [--class TEXT] [--arch N] [--offers N] [--take] [--fetch FILE]

Asks again, as cards do, until N servers have answered (1); with 0 it waits a while for an answer that must not come.
Prints what was offered as JSON: [{"server", "address", "file", "router"}]. --take takes the first offer of an address; --fetch then loads
a file by TFTP from who offered it, from the address that was taken. Run as a program in the network that it is to ask in."""

import argparse
import json
import os
import socket
import struct
import subprocess
import time

MAGIC = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
AGAIN_S = 3  # until it asks again
LIMIT_S = 40


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(kind, xid, mac, options):
    hardware = bytes.fromhex(mac.replace(":", ""))
    dhcp = struct.pack("!BBBBIHH16x", 1, 1, 6, 0, xid, 0, 0x8000) + hardware.ljust(16, b"\0") + bytes(192) + MAGIC
    dhcp += bytes([53, 1, kind]) + b"".join(bytes([code, len(value)]) + value for code, value in options) + b"\xff"
    udp = struct.pack("!HHHH", 68, 67, 8 + len(dhcp), 0) + dhcp
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return b"\xff" * 6 + hardware + b"\x08\x00" + head + udp


def options_of(data):
    found, at = {}, 0
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        found[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


def answer_of(frame, xid):
    if frame[12:14] != b"\x08\x00" or frame[23] != 17:
        return None
    udp = frame[14 + (frame[14] & 15) * 4 :]
    dhcp = udp[8:]
    if udp[2:4] != b"\0\x44" or dhcp[:1] != b"\x02" or dhcp[4:8] != struct.pack("!I", xid):
        return None
    options = options_of(dhcp[240:])
    file = options.get(67, dhcp[108:236]).split(b"\0")[0].decode()
    return {
        "kind": options[53][0],
        "server": socket.inet_ntoa(options.get(54, frame[26:30])),
        "address": socket.inet_ntoa(dhcp[16:20]),
        "file": file,
        "router": socket.inet_ntoa(options[3][:4]) if 3 in options else "",
    }


def listen(sock, xid, seconds, answers, wanted):
    """Take answers, one of a server and kind, until as many as wanted have come."""
    end = time.monotonic() + seconds
    while len(answers) < max(wanted, 1) and (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            answer = answer_of(sock.recv(2000), xid)
        except TimeoutError:
            return
        if answer:
            answers.setdefault((answer["server"], answer["kind"]), answer)


def ask(sock, kind, mac, options, wanted=1):
    xid = struct.unpack("!I", os.urandom(4))[0]
    answers, end = {}, time.monotonic() + LIMIT_S
    while True:
        sock.send(packet(kind, xid, mac, options))
        listen(sock, xid, AGAIN_S, answers, wanted)
        if len(answers) >= wanted or time.monotonic() > end:
            return list(answers.values())


def fetch(server, source, name):
    """The whole file, block after block."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.settimeout(30)
        sock.sendto(b"\0\x01" + name.encode() + b"\0octet\0", (server, 69))
        size = 0
        while True:
            data, peer = sock.recvfrom(2000)
            assert data[:2] == b"\0\x03", data
            sock.sendto(b"\0\x04" + data[2:4], peer)
            size += len(data) - 4
            if len(data) < 516:
                return size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("interface")
    parser.add_argument("mac")
    parser.add_argument("--vendor", default="")
    parser.add_argument("--class", dest="user_class", default="")
    parser.add_argument("--arch", type=int)
    parser.add_argument("--offers", type=int, default=1)
    parser.add_argument("--take", action="store_true")
    parser.add_argument("--fetch")
    args = parser.parse_args()
    options = [(55, bytes([1, 3, 6, 66, 67])), (57, struct.pack("!H", 1500))]
    options += [(60, args.vendor.encode())] if args.vendor else []
    options += [(77, args.user_class.encode())] if args.user_class else []
    options += [(93, struct.pack("!H", args.arch)), (94, b"\x01\x02\x01"), (97, bytes(17))] if args.arch is not None else []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
        sock.bind((args.interface, 0))
        offers = [a for a in ask(sock, DISCOVER, args.mac, options, args.offers) if a["kind"] == OFFER]
        given = next((a for a in offers if a["address"] != "0.0.0.0"), None)
        if (args.take or args.fetch) and given:
            choice = [(50, socket.inet_aton(given["address"])), (54, socket.inet_aton(given["server"]))]
            answers = ask(sock, REQUEST, args.mac, options + choice)
            assert any(a["kind"] == ACK for a in answers), answers
    if args.fetch and given:
        subprocess.run(["ip", "addr", "add", given["address"] + "/24", "dev", args.interface], check=True)
        try:
            fetch(given["server"], given["address"], args.fetch)
        finally:
            subprocess.run(["ip", "addr", "del", given["address"] + "/24", "dev", args.interface], check=True)
    print(json.dumps([{key: value for key, value in a.items() if key != "kind"} for a in offers]))


if __name__ == "__main__":
    main()
