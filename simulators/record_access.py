"""The server's side of the Record Access Control Point (2A52), over any list of records.

Complete for the operations of the Glucose and CGM services: report, delete, abort and count, with every operator over
the one filter that these services know (sequence number or time offset). Source: GLS 1.0.1 and CGMS 1.0.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from struct import unpack
from typing import Final, Generic, TypeVar

from bumble import att
from bumble.device import Connection

from simulators import encode
from simulators.gatt_server import GattServer

Record = TypeVar("Record")

_U16_MAX: Final = 0xFFFF


class Op(IntEnum):
    """Operations that a client may ask for."""

    REPORT = 1
    DELETE = 2
    ABORT = 3
    COUNT = 4


class Operator(IntEnum):
    """Which records are meant."""

    NULL = 0
    ALL = 1
    AT_MOST = 2
    AT_LEAST = 3
    RANGE = 4
    FIRST = 5
    LAST = 6


class Code(IntEnum):
    """How a procedure ended."""

    SUCCESS = 1
    OP_NOT_SUPPORTED = 2
    INVALID_OPERATOR = 3
    OPERATOR_NOT_SUPPORTED = 4
    INVALID_OPERAND = 5
    NO_RECORDS = 6
    ABORT_UNSUCCESSFUL = 7
    NOT_COMPLETED = 8
    OPERAND_NOT_SUPPORTED = 9


class Misbehaviour(Enum):
    """What a faulty device does in the middle of a report."""

    HANG_UP = "hang up"  # the link ends
    FAIL = "fail"  # "procedure not completed"
    SILENCE = "silence"  # neither a record nor an answer ever again, until aborted


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A misbehaviour that strikes each report after this many records."""

    kind: Misbehaviour
    after: int = 0


class _RefusedError(Exception):
    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class RecordAccess(Generic[Record]):
    """A control point over `records`, oldest first.

    key: the sequence number or time offset of a record. report: sends one record to the central.
    fault: may be set and cleared at any time. newest_first: the order of its reports.
    """

    def __init__(
        self,
        server: GattServer,
        records: list[Record],
        *,
        key: Callable[[Record], int],
        report: Callable[[Record], Awaitable[None]],
    ) -> None:
        self._server = server
        self._records = records
        self._key = key
        self._report = report
        self._running: asyncio.Task[None] | None = None
        self.fault: Fault | None = None
        self.newest_first = False
        self.characteristic = server.characteristic(0x2A52, write=self._on_write, indicate=True)

    def _on_write(self, _connection: Connection, request: bytes) -> None:
        if len(request) < 2:
            raise att.ATT_Error(att.ErrorCode.INVALID_ATTRIBUTE_LENGTH)
        if not self._server.subscribed(self.characteristic):
            raise att.ATT_Error(att.ErrorCode.CCCD_IMPROPERLY_CONFIGURED)
        if request[0] == Op.ABORT:
            self._server.spawn(self._indicate(encode.record_access_response(Op.ABORT, self._abort(request))))
        elif self._running is not None and not self._running.done():
            raise att.ATT_Error(att.ErrorCode.PROCEDURE_ALREADY_IN_PROGRESS)
        else:
            # As a task: the write response goes out when this handler returns, and must not wait for the records.
            self._running = self._server.spawn(self._procedure(request))

    def _abort(self, request: bytes) -> Code:
        if request[1] != Operator.NULL:
            return Code.INVALID_OPERATOR
        if len(request) > 2:
            return Code.INVALID_OPERAND
        if self._running is None or self._running.done():
            return Code.ABORT_UNSUCCESSFUL
        self._running.cancel()
        self._running = None
        return Code.SUCCESS

    async def _procedure(self, request: bytes) -> None:
        try:
            answer = await self._carry_out(request[0], request[1], request[2:])
        except _RefusedError as refused:
            answer = encode.record_access_response(request[0], refused.code)
        # Before the last indication: the client may write again as soon as it has it.
        self._running = None
        await self._indicate(answer)

    async def _carry_out(self, op: int, operator: int, operand: bytes) -> bytes:
        match op:
            case Op.COUNT:
                return encode.record_access_count(len(self._select(operator, operand)))
            case Op.REPORT:
                await self._report_all(self._some(operator, operand))
            case Op.DELETE:
                for record in self._some(operator, operand):
                    self._records.remove(record)
            case _:
                raise _RefusedError(Code.OP_NOT_SUPPORTED)
        return encode.record_access_response(op, Code.SUCCESS)

    async def _report_all(self, records: list[Record]) -> None:
        for sent, record in enumerate(reversed(records) if self.newest_first else records):
            await self._misbehave(sent)
            await self._report(record)
        await self._misbehave(len(records))

    async def _misbehave(self, sent: int) -> None:
        if self.fault is None or self.fault.after != sent:
            return
        match self.fault.kind:
            case Misbehaviour.HANG_UP:
                await self._server.hang_up()
            case Misbehaviour.FAIL:
                raise _RefusedError(Code.NOT_COMPLETED)
            case Misbehaviour.SILENCE:
                await asyncio.Event().wait()

    def _some(self, operator: int, operand: bytes) -> list[Record]:
        records = self._select(operator, operand)
        if not records:
            raise _RefusedError(Code.NO_RECORDS)
        return records

    def _select(self, operator: int, operand: bytes) -> list[Record]:
        match operator:
            case Operator.NULL:
                raise _RefusedError(Code.INVALID_OPERATOR)
            case Operator.ALL | Operator.FIRST | Operator.LAST if operand:
                raise _RefusedError(Code.INVALID_OPERAND)
            case Operator.ALL:
                return self._records[:]
            case Operator.FIRST:
                return self._records[:1]
            case Operator.LAST:
                return self._records[-1:]
            case Operator.AT_MOST:
                (highest,) = self._filter(operand, 1)
                return self._between(0, highest)
            case Operator.AT_LEAST:
                (lowest,) = self._filter(operand, 1)
                return self._between(lowest, _U16_MAX)
            case Operator.RANGE:
                lowest, highest = self._filter(operand, 2)
                if lowest > highest:
                    raise _RefusedError(Code.INVALID_OPERAND)
                return self._between(lowest, highest)
            case _:
                raise _RefusedError(Code.OPERATOR_NOT_SUPPORTED)

    def _filter(self, operand: bytes, count: int) -> tuple[int, ...]:
        if not operand:
            raise _RefusedError(Code.INVALID_OPERAND)
        if operand[0] != 1:
            raise _RefusedError(Code.OPERAND_NOT_SUPPORTED)
        if len(operand) != 1 + 2 * count:
            raise _RefusedError(Code.INVALID_OPERAND)
        return unpack(f"<{count}H", operand[1:])

    def _between(self, lowest: int, highest: int) -> list[Record]:
        return [record for record in self._records if lowest <= self._key(record) <= highest]

    async def _indicate(self, answer: bytes) -> None:
        await self._server.indicate(self.characteristic, answer)
