"""What mainspring costs: ``python -m benchmarks``, or ``make bench``.

``measuring``  figures and how they are taken; nothing but the standard library, so that peers are measured by it, too
``cases``      one path that is measured, and the turns that it takes
``rounds``     cases of many families, round by round
``registry``   all families by name, and the tables that they are in
``reports``    figures as tables, as JSON and in a page
``plots``      figures as bars, as SVG
``command``    the command line

Families of cases, whose rounds are interleaved: ``floors``, ``inline``, ``submitted``, ``maps``, ``generators``,
``hooks``, ``logs``, ``flows``, ``processes``, ``kept``, ``cached``, ``resuming``, ``postgres``, ``starting``.

Families that measure by themselves, as they take long or want processes of their own: ``many``, ``hashing``,
``clusters``.

``peers``      the same work done by others, in environments of their own: ``make bench-peers``

``serializers`` is a script of its own.
"""
