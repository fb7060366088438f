"""Worked examples of the text operations, in the form of their prompts: what a language model is shown."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "equals": ("1 == one => true", "'half past two' == '14:30' => true", "a cat == a dog => false"),
    "differs": ("seven != 7 => false", "Paris != the capital of Italy => true"),
    "less": ("five < 12 => true", "a dozen < 10 => false", "1999-12-31 < 2000-01-01 => true"),
    "greater": ("ten thousand > 900 => true", "a mouse > an elephant => false"),
    "at_most": ("three <= 3 => true", "a week <= six days => false"),
    "at_least": ("a century >= 99 years => true", "a foot >= a metre => false"),
    "contains": ("a fruit in pears and bread => true", "7 in 'one, two, three' => false"),
    "combine": ("two + 3 => 5", "red + 'a car' => a red car", "17 + 'twenty' => 37"),
    "without": ("text tea with milk and sugar without milk => tea with sugar", "text 12 apples without 12 => apples"),
    "both": (
        "expr :All birds lay eggs.: and :A wren is a bird.: => A wren lays eggs.",
        "expr :It rains.: and :When it rains the road is wet.: => It rains and the road is wet.",
    ),
    "either": (
        "expr :The lamp is broken.: or :The power is off.: => The lamp is broken or the power is off, or both.",
    ),
    "one_of": ("expr :He took the bus.: xor :He walked.: => He either took the bus or walked, but not both.",),
    "include": (
        "text The shop opens at nine. include on Sundays at ten => The shop opens at nine, on Sundays at ten.",
    ),
    "include_in": (
        "text Dear all, the meeting is moved. include to Friday => Dear all, the meeting is moved to Friday.",
    ),
    "negate": ("The door is open. => The door is closed.", "I like it. => I do not like it."),
    "invert": ("All squares are rectangles. => All rectangles are squares.", "1 2 3 => 3 2 1"),
    "split_by": ('bread; milk; tea split ; => ["bread", "milk", "tea"]',),
    "join_with": ("It snowed. join The trains were late. => It snowed, and the trains were late.",),
    "item": ("Anna, Ben, Carl index the second => Ben", "height: 3 m, width: 2 m index width => 2 m"),
    "set_item": ("Anna, Ben index the first set Zoe => Zoe, Ben",),
    "delete_item": ("Anna, Ben, Carl remove the last => Anna, Ben",),
    "interpret": ("expr :3 squared plus one: => 10", "expr :Better late than: => never"),
    "is_a": ("14 March isinstance a date => true", "green isinstance a number => false"),
    "clean": ("<b>Hello</b>  world&nbsp;! => Hello world!", "a\\t\\tb => a b"),
    "summarize": (
        "The shop, which had stood there since 1902, closed in May after its owner died. => The shop closed in May.",
    ),
    "outline": ('First we measured the beam. Then we cut it. => ["measure the beam", "cut the beam"]',),
    "filter": ("text bread, shoes, cheese keep food => bread, cheese",),
    "modify": ("text the train leaves at 8 modify upper case => THE TRAIN LEAVES AT 8",),
    "replace": ("text a red door replace red with blue => a blue door",),
    "remove": ("text Call Ann on 555-0100. remove phone numbers => Call Ann.",),
    "map": ('["cat", "cow"] each give the young animal => ["kitten", "calf"]',),
    "unique": ('car, automobile, bicycle => ["car", "bicycle"]',),
    "compose": ("Rain fell. | The river rose. => Rain fell, and the river rose.",),
    "rank": ('ten, 3, seven by value descending => ["ten", "seven", "3"]',),
    "extract": ("from The order 4711 came on 3 May. extract the date => 3 May", "from a: 5, b: 6 extract b => 6"),
    "correct": ("He go home. correct grammar => He goes home.",),
    "translate": ("good morning into French => bonjour",),
    "choose": ("My parcel has not come. cases ['billing', 'delivery'] => delivery",),
    "query": ("data: Ann is 30 and Ben is 28. question: Who is older? => Ann",),
    "convert": ('name: Ann, age: 30 format JSON => {"name": "Ann", "age": 30}',),
    "transcribe": ("I can't come modify formal => I regret that I cannot come.",),
    "analyze": ("for i in range(3) print(i) question why does it fail => A colon is missing after range(3).",),
    "execute": ("print(2 + 3) => 5",),
    "simulate": ("x := 2; repeat twice: x := x * x; print x => 16",),
    "sufficient": ("query Who wrote it? content The book has 300 pages. => false",),
    "list": ('Ann (30), Ben (17), Cy (41) list adults => ["Ann", "Cy"]',),
    "foreach": ('3, 4 foreach number do double it => ["6", "8"]',),
    "dictionary": (
        'apple, oak, pear, elm context kinds of tree => {"fruit": ["apple", "pear"], "forest": ["oak", "elm"]}',
    ),
    "template": ("Ann into <p>{{placeholder}}</p> => <p>Ann</p>",),
    "style": ("It is cold. style a telegram => COLD HERE STOP",),
    "cluster": ("oak, elm, birch => trees",),
    "write_function": ("add two numbers => def add(a, b): return a + b",),
}
