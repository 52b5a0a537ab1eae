"All metadata lives in settings.ini (nbdev reads it too); this file hands it to setuptools."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

parser = ConfigParser(delimiters=['='])
parser.read(Path(__file__).parent/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']

words = lambda key: cfg[key].split()                                          # one requirement a word
lines = lambda key: [o.strip() for o in cfg[key].splitlines() if o.strip()]   # one a line: may hold spaces
extras = {k: words(f'{k}_requirements')
    for k in ('lite','data','multi','logs','segment','explain','pictures','export','cluster','remote','app','site')}

def readme():
    "README.md with links and pictures that also resolve on PyPI, where no repository lies beside it"
    at = lambda kind: f"{cfg['git_url']}/{kind}/{cfg['branch']}/"
    text = Path(__file__).with_name('README.md').read_text(encoding='utf-8')
    return re.sub(r'(!?)(\[[^\]]*\])\((?!https?:|mailto:|#)([^)]+)\)', lambda m: f"{m[1]}{m[2]}({at('raw' if m[1] else 'blob')}{m[3]})", text)

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license='Apache-2.0',
    project_urls={'Documentation': cfg['doc_host']+cfg['doc_baseurl'], 'Source': cfg['git_url'], 'Changes': f"{cfg['git_url']}/blob/{cfg['branch']}/CHANGELOG.md"},
    classifiers=['Development Status :: 3 - Alpha', 'Intended Audience :: Science/Research', 'Natural Language :: English',
                 'Operating System :: OS Independent',
                 'Programming Language :: Python :: 3', 'Programming Language :: Python :: 3 :: Only', 'Topic :: Scientific/Engineering :: Artificial Intelligence', 'Topic :: Scientific/Engineering :: Image Recognition'],
    long_description=readme(), long_description_content_type='text/markdown',
    packages=find_packages(include=['tempo', 'tempo.*']),
    python_requires=f">={cfg['min_python']}",
    install_requires=words('requirements') + lines('decord_requirements'),
    extras_require=extras | {'bench': words('bench_requirements'), 'dev': sum(extras.values(), words('dev_requirements'))},
    entry_points={'console_scripts': lines('console_scripts'), 'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
    zip_safe=False)
