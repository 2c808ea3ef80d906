"""Compiled text is read as it was worked out by hand."""
# ruff: noqa: D103

import pytest

from bdjax.aot import hlo, reading, traffic
from bdjax.aot.reading import Product

# A loop of 3 epochs around one of 5 steps, in which a loop goes round once for
# each of 4 images and one 7 times; as XLA writes it, shortened.
TEXT = """\
HloModule jit_run, is_scheduled=true

%conv_body (param_0: bf16[4,8,8,16], param_1: bf16[3,3,16,16]) -> \
bf16[4,8,8,16] {
  %param_0 = bf16[4,8,8,16]{3,2,1,0} parameter(0)
  %param_1 = bf16[3,3,16,16]{3,2,1,0} parameter(1)
  ROOT %convolution.1 = bf16[4,8,8,16]{3,2,1,0:T(8,128)(2,1)} \
convolution(%param_0, %param_1), window={size=3x3 pad=1_1x1_1}, \
dim_labels=b01f_01io->b01f, feature_group_count=2
}

%image_cond (p: (s32[])) -> pred[] {
  %p = (s32[]) parameter(0)
  %gte = s32[] get-tuple-element(%p), index=0
  %bound = s32[] constant(4)
  ROOT %lt = pred[] compare(%gte, %bound), direction=LT
}

%image_body (p.1: (s32[])) -> (s32[]) {
  %p.1 = (s32[]) parameter(0)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  %one = s32[] constant(1)
  %next = s32[] add(%i.1, %one), \
backend_config={"estimated_cycles":"10"}
  ROOT %t.1 = (s32[]) tuple(%next)
}

%step_body (p.2: (s32[], bf16[4,8,8,16])) -> (s32[], bf16[4,8,8,16]) {
  %p.2 = (s32[], bf16[4,8,8,16]{3,2,1,0}) parameter(0)
  %i.2 = s32[] get-tuple-element(%p.2), index=0
  %x = bf16[4,8,8,16]{3,2,1,0} get-tuple-element(%p.2), index=1
  %k = bf16[3,3,16,16]{3,2,1,0:S(1)} constant({...})
  %zero = (s32[]) tuple(%i.2)
  %crop = (s32[]) while(%zero), condition=%image_cond, body=%image_body, \
metadata={op_name="jit(run)/while/body/crop"}
  %other = (s32[]) while(%zero), condition=%unknown, body=%image_body, \
backend_config={"known_trip_count":{"n":"7"}}
  %f = bf16[4,8,8,16]{3,2,1,0} fusion(%x, %k), kind=kOutput, \
calls=%conv_body, backend_config={"estimated_cycles":"1000"}
  %s = ((f32[8]{0}), f32[8]{0:S(1)}) all-reduce-start(%i.2), to_apply=%add
  %d = f32[8]{0} all-reduce-done(%s)
  ROOT %t.2 = (s32[], bf16[4,8,8,16]{3,2,1,0}) tuple(%i.2, %f)
}

%epoch_body (p.3: (s32[])) -> (s32[]) {
  %p.3 = (s32[]) parameter(0)
  %steps = (s32[]) while(%p.3), condition=%unknown, body=%step_body, \
backend_config={"known_trip_count":{"n":"5"},"x":1}
  ROOT %t.3 = (s32[]) tuple(%p.3)
}

ENTRY %main (a: s32[]) -> (s32[]) {
  %a = s32[] parameter(0), metadata={op_name="key"}
  %begun = (s32[]) tuple(%a)
  ROOT %epochs = (s32[]) while(%begun), condition=%unknown, \
body=%epoch_body, backend_config={"known_trip_count":{"n":"3"}}
}
"""


@pytest.fixture(scope="module")
def module():
  return hlo.parse(TEXT)


def test_text_is_taken_apart(module):
  assert module.entry == "main"
  (name,) = [n for n in module.computations if "cond" in n]
  kinds = [one.opcode for one in module.computations[name]]
  assert kinds == ["parameter", "get-tuple-element", "constant", "compare"]
  convolution = module.computations["conv_body"][-1]
  assert convolution.root and convolution.operands == ["param_0", "param_1"]
  assert module.computations["step_body"][7].attribute("calls") == "conv_body"


def test_text_without_an_entry_is_refused():
  with pytest.raises(ValueError, match="ENTRY"):
    hlo.parse("%f (a: s32[]) -> s32[] {\n}\n")


def test_arrays_of_types():
  kind = "(bf16[2,3]{1,0:T(8,128)(2,1)}, /*index=1*/pred[5]{0:S(1)}, s4[4]{0})"
  first, second, third = hlo.arrays(kind)
  assert (first.shape, first.bytes, first.far) == ((2, 3), 12, True)
  assert (second.bytes, second.far) == (5, False)
  assert third.bytes == 2
  assert hlo.arrays("f8e4m3fn[8]{0}")[0].bytes == 8
  assert hlo.arrays("f32[]")[0].bytes == 4
  assert hlo.arrays("token[]")[0].bytes == 0


def test_loops_with_their_trips(module):
  found = reading.loops(module)
  assert [(x.trips, x.depth) for x in found] == [(3, 0), (5, 1), (4, 2), (7, 2)]
  assert found[2].label == "jit(run)/while/body/crop"


def test_a_condition_with_two_numbers_is_no_guess():
  bound = "%bound = s32[] constant(4)"
  text = TEXT.replace(bound, f"{bound}\n  %more = s32[] constant(9)")
  assert reading.loops(hlo.parse(text))[2].trips is None


def test_loops_once_per_image(module):
  found = reading.loops(module)
  assert [x.trips for x in reading.serial(found, {4}, 20)] == [4]
  assert [x.trips for x in reading.serial(found, {2}, 20)] == [4]
  assert reading.serial(found, {8}, 20) == []
  # 3 epochs are not inside a loop; as many trips as images are serial anyway.
  assert [x.trips for x in reading.serial(found, {3}, 20)] == []
  assert [x.trips for x in reading.serial(found, {8}, 3)] == [3, 5, 4, 7]


def test_counts_go_by_trips(module):
  # A step: 4 and 7 trips of one addition, the fusion, the reduction.
  assert reading.launches(module) == 3 * 5 * (4 * 2 + 7 + 1 + 1)
  assert reading.launches(module, "image_body") == 1
  assert reading.cycles(module) == 3 * 5 * ((4 + 7) * 10 + 1000)
  assert reading.collectives(module) == {"all-reduce": 1}


def test_convolutions_with_their_groups(module):
  assert reading.products(module) == [Product("convolution", "bf16", 2, "xla")]


def test_a_library_s_convolution():
  text = """\
ENTRY %main (x: f32[4,8,8,16], k: bf16[4]) -> f32[4,8,8,16] {
  %x = f32[4,8,8,16]{3,2,1,0} parameter(0)
  %k = f32[16,3,3,8]{3,2,1,0} parameter(1)
  %c = (f32[4,8,8,16]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), \
window={size=3x3}, feature_group_count=2, \
custom_call_target="__cudnn$convForward"
  %m = bf16[4,4]{1,0} custom-call(%x, %k), \
custom_call_target="__cublas$gemm"
  ROOT %r = f32[4,8,8,16]{3,2,1,0} get-tuple-element(%c), index=0
}
"""
  assert reading.products(hlo.parse(text)) == [
    Product("convolution", "f32", 2, "cudnn"),
    Product("dot", "f32", 1, "cublas"),
  ]


@pytest.mark.parametrize(
  ("window", "groups"),
  (
    ("size=3x3x10 stride=1x1x9 pad=1_1x1_1x0_0 lhs_dilate=1x1x10", 10),
    ("size=3x3x2 pad=1_1x1_1x0_0 lhs_dilate=1x1x2", 2),
    ("size=3x3x10 pad=1_1x1_1x0_0", 1),
    ("size=2x2 lhs_dilate=2x2", 1),  # the gradient of a strided one
    ("size=10 stride=9 lhs_dilate=10", 1),  # a product of ten matrices
  ),
)
def test_groups_that_became_a_dimension(window, groups):
  text = f"""\
ENTRY %main (x: bf16[2,4,4,10,8]) -> bf16[2,4,4,10,8] {{
  %x = bf16[2,4,4,10,8]{{4,3,2,1,0}} parameter(0)
  ROOT %c = bf16[2,4,4,10,8]{{4,3,2,1,0}} convolution(%x, %x), \
window={{{window}}}, dim_labels=b012f_01i2o->b012f
}}
"""
  (product,) = reading.products(hlo.parse(text))
  assert product.groups == groups


BYTES = """\
%rows (p0: u8[50,12], p1: s32[4]) -> f32[4,12] {
  %p0 = u8[50,12]{1,0} parameter(0)
  %p1 = s32[4]{0} parameter(1)
  %g = u8[4,12]{1,0} gather(%p0, %p1), offset_dims={1}
  ROOT %c = f32[4,12]{1,0} convert(%g)
}

%put (q0: f32[100], q1: f32[2], q2: s32[]) -> f32[100] {
  %q0 = f32[100]{0} parameter(0)
  %q1 = f32[2]{0} parameter(1)
  %q2 = s32[] parameter(2)
  ROOT %dus = f32[100]{0} dynamic-update-slice(%q0, %q1, %q2)
}

ENTRY %main (d: u8[50,12], i: s32[4], b: f32[100], n: f32[2], s: s32[]) -> \
f32[100] {
  %d = u8[50,12]{1,0} parameter(0)
  %i = s32[4]{0} parameter(1)
  %b = f32[100]{0} parameter(2)
  %n = f32[2]{0} parameter(3)
  %s = s32[] parameter(4)
  %take = f32[4,12]{1,0} fusion(%d, %i), kind=kLoop, calls=%rows
  %near = f32[4,12]{1,0:S(1)} negate(%take)
  ROOT %put.1 = f32[100]{0} fusion(%b, %n, %s), kind=kLoop, calls=%put
}
"""


def test_bytes_of_parts_not_of_wholes():
  # take: reads 4 of 50 rows of bytes and 4 indices, writes floats;
  # near: reads them, writes to VMEM; put: reads 2 floats and a place, writes 2.
  taken, negated, put = 4 * 12 + 16 + 4 * 48, 4 * 48, 8 + 4 + 8
  assert traffic.moved(hlo.parse(BYTES)) == taken + negated + put


def test_bytes_of_what_is_started_and_done_later():
  text = """\
ENTRY %main (x: f32[100,8]) -> f32[10,8] {
  %x = f32[100,8]{1,0} parameter(0)
  %c = (f32[100,8]{1,0:S(1)}, f32[100,8]{1,0}, u32[]{:S(2)}) copy-start(%x)
  %d = f32[100,8]{1,0:S(1)} copy-done(%c)
  %s = ((f32[100,8]{1,0}), f32[10,8]{1,0:S(1)}, s32[]{:S(2)}) \
slice-start(%x), slice={[0:10], [0:8]}
  ROOT %e = f32[10,8]{1,0:S(1)} slice-done(%s)
}
"""
  assert traffic.moved(hlo.parse(text)) == 4 * (800 + 80)


def test_of_a_conditional_the_dearer_branch_counts():
  text = """\
%cheap (a: s32[]) -> s32[] {
  ROOT %a = s32[] parameter(0)
}

%dear (b: s32[]) -> s32[] {
  %b = s32[] parameter(0)
  ROOT %n = s32[] negate(%b), backend_config={"estimated_cycles":"8"}
}

ENTRY %main (c: pred[], x: s32[]) -> s32[] {
  %c = pred[] parameter(0)
  %x = s32[] parameter(1)
  ROOT %r = s32[] conditional(%c, %x, %x), true_computation=%cheap, \
false_computation=%dear
}
"""
  module = hlo.parse(text)
  assert reading.cycles(module) == 8 and reading.launches(module) == 1
  text = text.replace(
    "true_computation=%cheap, false_computation=%dear",
    "branch_computations={%cheap, %dear}",
  )
  assert reading.cycles(hlo.parse(text)) == 8
