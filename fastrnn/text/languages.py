"""What the splitting of sentences knows of languages: abbreviations, and words that follow ordinal numbers.

The lists were written for this package from general knowledge of each language's usage; no other list was copied. A
Punkt model that is trained on a text begins with them, since a small text shows too few abbreviations. Those that are
also common words, which end sentences, are left out (German "Art.", Swedish "min."). Words are as Punkt has them: in
lower case, without the last full stop ("z.b" is "z.B.").
"""

# English has what it always had: models trained with it stay what they are.
_ABBREVIATIONS = {
    "english": """
        mr mrs ms dr prof st jr sr vs etc e.g i.e a.k.a cf fig no vol pp approx inc ltd co corp u.s u.k a.m p.m
    """,
    "german": """
        z.b d.h u.a u.ä u.u u.v.m u.s.w i.d.r i.a i.w.s o.ä o.g s.o s.u v.a z.t z.zt z.hd v.chr n.chr m.e a.d m.w bzw ca
        usw evtl ggf ggfs inkl exkl vgl sog bspw etc div insb insbes max min mind abs nr bd bde hrsg jh jhd jg kap s ff
        anm aufl ausg dt engl frz geb gest hl dr prof dipl ing hr fr frl st str tel abb tab verf zit allg ehem einschl
        entspr eigtl erg gegr jährl mio mrd tsd mtl od nachm vorm std sek urspr zzgl abk bsp phil med
    """,
    "french": """
        m mm mme mmes mlle mlles mgr dr drs pr prs st ste cf p.ex p ex etc c.-à-d c.à.d env chap éd fig hab n.b p.-s av
        apr j.-c av.j.-c apr.j.-c pp réf sq suiv t tél bd boul fg janv févr avr juill oct nov déc s.a s.n.c.f e.g i.e
        ibid op cit no nos adj adv masc fém sing plur trad coll dir dép
    """,
    "spanish": """
        sr sra sres sras srta srtas dr dra dres d dña ud uds vd vds ee uu ee.uu ff aa ff.aa rr jj jj.oo cc oo cc.oo p.ej
        p ej etc pág págs núm núms art arts cap caps fig figs ed eds vol vols tel tfno av avda c/ dpto depto prof profa
        gral cnel lic ing arq mons sto sta s.a s.l a.c d.c a.m p.m c.f cf vid aprox máx mín izq dcha admón cía hnos j.c
        n.º q.e.p.d
    """,
    "italian": """
        sig sigg sig.ra sig.na dott dott.ssa dr prof prof.ssa ing avv arch geom rag on sen mons s ss ecc es p.es pag
        pagg p pp cap art artt n nn fig tav vol voll ed cfr cit ibid op a.c d.c s.p.a s.r.l spett egr gent.mo tel c.so
        v.le p.za ca min max sec secc gen col ten cav comm
    """,
    "portuguese": """
        sr sra srs sras srta dr dra drs prof profa profs eng arq exmo exma ilmo v.ex.a etc p.ex ex pág págs p pp cap art
        arts fig figs vol vols n núm ed eds cf obs av r tel apto dpto a.c d.c s.a ltda cia gen cel ten sto sta d jr séc
        sécs min máx aprox e.u.a
    """,
    "dutch": """
        bijv bv dhr mevr mw dr drs mr ir ing prof ds d.w.z d.m.v e.d e.v enz etc evt excl incl ca blz p pp nr nrs art
        hfst i.p.v i.v.m i.t.t i.h.a m.a.w m.b.t m.b.v m.i m.n m.u.v n.a.v n.v o.a o.l.v o.m resp s.v.p t.a.v t.e.m
        t.g.v t.o.v t.w.v v.chr n.chr vgl z.g zgn z.o.z st tel afb afd vnl jl max min gem
    """,
    "swedish": """
        bl.a d.v.s dvs t.ex t.o.m f.d f.n fr.o.m fr m.a.o m.fl m.m o.d o.dyl o.s.v osv p.g.a s.k ca kl nr sid s dr prof
        hr frk jfr resp inkl exkl etc ev ex f.kr e.kr fig kap bd uppl utg avd tel mån max milj mkt
    """,
    "danish": """
        bl.a d.v.s dvs f.eks fx f f.kr e.kr m.a.o m.fl m.m m.v mv o.a o.l osv p.g.a pga s.u t.eks iflg inkl ekskl ca kl
        nr s st dr prof hr fr frk jf jvf hhv evt etc fig kap bd udg tlf mio mia max vedr pct sml oprind
    """,
    "norwegian": """
        bl.a d.v.s dvs f.eks f.kr e.kr m.a.o m.fl m.m m.v mv o.a o.l osv p.g.a pga t.o.m iflg inkl ekskl ca kl nr s st
        dr prof hr fr frk jf jfr hhv evt etc fig kap bd utg tlf mill mrd maks vedr pst kgl
    """,
    "finnish": """
        esim mm ym yms ks vrt jne ns nk tms toim n s ss nro puh tri prof maist dos eaa jaa ekr jkr em ko ao ed huom kpl
        luv milj mrd mk par synt k per engl ruots saks lat myöh tarkk l r.y
    """,
    "polish": """
        np m.in tzn tzw itd itp ww wg dr prof hab mgr inż lek doc ks św bł o s str t r w ul al pl os pow woj gm godz min
        sek tel ob br ok zob por red wyd rys tab pt p.n.e n.e ang niem franc łac gen płk kpt jw poz art ust pkt lit
    """,
    "czech": """
        např atd apod tj tzv tzn resp popř příp mj mimoj aj ap atp č čl s str sv ř r st hl vyd ed viz srov zvl cca p pí
        sl dr mudr judr phdr rndr ing mgr bc prof doc csc ul nám tel tř kap obr tab odst př.n.l n.l po.kr př.kr mil mld
        tis max min angl něm fr lat
    """,
    "russian": """
        т.е т.к т.н т.д т.п т.о т и.о н.э до.н.э г гг в вв ул пр просп пл пер д кв обл р р-н стр с рис табл см ср напр
        др проф акад доц канд гр гос руб коп тыс млн млрд чел экз изд ред сост англ нем фр лат рус св о оз ок ст п гл кн
        н.эры мин макс
    """,
    "greek": """
        π.χ δηλ κ.λπ κλπ κ.ά κ.α κ κα κ.κ δρ καθ σελ σ βλ πρβλ τηλ αρ αριθ άρθ εκ εκδ κεφ τ τόμ μ.χ π.μ μ.μ λ.χ δρχ ευρ
        εικ πίν στρ λεωφ οδ αγ αι αιών
    """,
    "turkish": """
        örn vb vs vd bkz dr prof doç yrd av alb gen sn hz st cad mah apt no tel sf s ss c çev bs m.ö m.s t.c ör krş yy
        ort maks min mlz şek tab
    """,
    "estonian": """
        nt jne jt jms jm vt vrd s.t st e.m.a m.a.j ekr pkr lk nr dr prof hr pr prl kl a aa saj u ca näit tel tn mnt pst
        k.a s.a s.o v.a tlk toim koost tab ptk
    """,
    "slovene": """
        npr itd ipd tj t.i oz str s št čl dr mag prof doc inž dipl g ga gdč sv ul tel min pr.n.št n.št r roj st prim gl
        okr kr ang nem fr lat t.j m.dr idr odst pogl
    """,
}

LANGUAGES = tuple(_ABBREVIATIONS)

# Where a full stop makes a number an ordinal, these follow it and no sentence begins: "am 3. Oktober".
_AFTER_ORDINALS = {
    "german": """januar jänner februar märz april mai juni juli august september oktober november dezember jahrhundert
        jahrhunderts jh mal platz kapitel klasse""",
    "danish": "januar februar marts april maj juni juli august september oktober november december århundrede",
    "norwegian": "januar februar mars april mai juni juli august september oktober november desember århundre",
    "finnish": """tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesäkuuta heinäkuuta elokuuta syyskuuta
        lokakuuta marraskuuta joulukuuta""",
    "czech": "ledna února března dubna května června července srpna září října listopadu prosince století",
    "estonian": """jaanuar jaanuaril veebruar veebruaril märts märtsil aprill aprillil mai mail juuni juunil juuli
        juulil august augustil september septembril oktoober oktoobril november novembril detsember detsembril""",
    "slovene": """januar januarja februar februarja marec marca april aprila maj maja junij junija julij julija avgust
        avgusta september septembra oktober oktobra november novembra december decembra""",
    "turkish": "yüzyıl yüzyılda yüzyılın",
}


def abbreviations(language: str) -> frozenset[str]:
    """The abbreviations of a language, one of `LANGUAGES`, in lower case and without the last full stop."""
    return frozenset(_ABBREVIATIONS[language].lower().split())


def collocations(language: str) -> frozenset[tuple[str, str]]:
    """Pairs of Punkt's types between which no sentence ends: a number with a full stop, and what it is ordinal of."""
    return frozenset(("##number##", word) for word in _AFTER_ORDINALS.get(language, "").split())
